"""Runs: the calls that belong together, so that a chain of tools cannot go on without end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backchannel.domain.canonical import digest
from backchannel.domain.decision import Mark
from backchannel.protocol.supervision import ToolRequest

KEPT = 86_400
WITHIN = 3600.0
"""Seconds within which calls of a chain are one run if nothing says which run they belong to."""

MOST = 1000
"""Calls of a run that are told apart; no token allows longer chains."""


@dataclass(frozen=True, slots=True)
class Run:
    """When the calls of a run were asked for (seconds since 1970), those that count still.

    `named`: the agent says which run it is. Then all of them count; else those of the last hour.
    """

    place: str
    named: bool
    times: tuple[float, ...] = ()

    @classmethod
    def read(cls, place: str, named: bool, content: Mapping[str, Any] | None, now: datetime) -> Run:
        since = float("-inf") if named else now.timestamp() - WITHIN
        times = tuple(float(at) for at in (content or {}).get("times", ()) if float(at) > since)
        return cls(place, named, times)

    def with_one_more(self, now: datetime) -> Mark:
        times = (*self.times, now.timestamp())[-MOST:]
        return Mark(self.place, {"times": list(times)}, KEPT if self.named else int(WITHIN))


def place_of(agent: str, request: ToolRequest) -> str | None:
    """The name under which a run is marked; None for a call that is part of none."""
    if (run := request.chain_id or request.trace_id) is not None:
        return f"chain.{digest([agent, run])[:32]}"
    if request.chain is not None:
        return f"chain.{digest([agent, 'unnamed', request.chain])[:32]}"
    return None
