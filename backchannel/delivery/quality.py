"""Quality: whether a line is slow, and what an agent wants held back while it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from backchannel.delivery.traits import Areas, Names, Traits, require_few
from backchannel.protocol.attention import QualityUpdate
from backchannel.protocol.frame import Quality

Mode = Literal["summaries", "full_delayed", "critical_only"]
SLOW_MBPS = 1.0
PERIODS: dict[Mode, float] = {"summaries": 10.0, "full_delayed": 30.0, "critical_only": 5.0}
"""Seconds for which each collects what it holds back."""

ALSO_CALLED: Names = {
    "security_alerts": ("security_emergency_broadcast", "critical_failure_broadcast"),
    "assigned_tasks": ("mention_route", "sidebar_spawn", "sidebar_child_spawn", "sidebar_invite"),
    "status_updates": ("agent_presence", "sidebar_status_update", "sidebar_waiting_update"),
    "general_memory": ("memory_update",),
}
"""Names for several types at once."""

BACKED_UP = 64 << 10
"""Bytes waiting from which on the line takes as much as it can: then what it takes is its speed."""

SLOW_ANSWER = 2.0
"""Seconds for a round trip at which a line counts as slow."""

LOOKS_SLOW, LOOKS_GOOD = 3, 10
"""Looks in a row, one a second, after which a line is slow, or good again."""


@dataclass(frozen=True, slots=True)
class Preference:
    """What an agent wants on a slow line. `mbps` is what it says its line can carry."""

    mode: Mode = "summaries"
    mbps: float | None = None
    required: Areas = field(default_factory=lambda: Areas(()))
    batchable: Areas = field(default_factory=lambda: Areas(()))

    @property
    def says_slow(self) -> bool:
        return self.mbps is not None and self.mbps < SLOW_MBPS

    def at_once(self, one: Traits) -> bool:
        """Whether it does not wait even on a slow line: top lanes, what is required, and the own inbox,
        except for what of that was called batchable; answers never wait."""
        if one.urgent or self.required.fits(one):
            return True
        return one.personal and (one.kind == "result" or not self.batchable.fits(one))


def preference(said: Quality | QualityUpdate) -> Preference:
    """Raises BadMessage if it names too much."""
    require_few(said.required_data, "required_data")
    require_few(said.batchable_data, "batchable_data")
    return Preference(
        said.slow_connection,
        said.mbps,
        Areas(said.required_data, ALSO_CALLED),
        Areas(said.batchable_data, ALSO_CALLED),
    )


def declared(said: Quality) -> Preference | None:
    """What a hello declares. To name a way alone, as every hello does, is no word about the line: who reads
    slowly then is told of gaps like everybody, and gets no summaries it does not expect."""
    if said.mbps is None and not said.required_data and not said.batchable_data:
        return None
    return preference(said)


class Line:
    """A line as it is measured, once a second. It becomes slow after a few bad looks, and good after many
    good ones, so that it does not change with every gust."""

    __slots__ = ("_bad", "_good", "_taken", "_was_backed_up", "slow")

    def __init__(self) -> None:
        self.slow = False
        self._bad = self._good = 0
        self._taken = 0
        self._was_backed_up = False

    def look(self, taken: int, waiting: int, round_trip: float, seconds: float) -> bool:
        """Whether it is slow.

        Args:
            taken: bytes the line took since it is there; `waiting` more wait for it.
            round_trip: seconds of the latest one that is known.
            seconds: since the last look.
        """
        rate = (taken - self._taken) * 8 / 1_000_000 / max(seconds, 1e-3)
        backed_up = waiting > BACKED_UP
        crawls = backed_up and self._was_backed_up and rate < SLOW_MBPS
        self._taken, self._was_backed_up = taken, backed_up
        self._judge(bad=crawls or round_trip > SLOW_ANSWER)
        return self.slow

    def _judge(self, *, bad: bool) -> None:
        self._bad, self._good = (self._bad + 1, 0) if bad else (0, self._good + 1)
        if self._bad >= LOOKS_SLOW:
            self.slow = True
        elif self._good >= LOOKS_GOOD:
            self.slow = False
