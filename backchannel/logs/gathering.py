"""Which lines of a flood are written, and how many are only counted. Pure: given the time."""

from __future__ import annotations

from dataclasses import dataclass

BURST = 100
A_SECOND = 10.0
"""Lines of one event: so many at once, and so many a second after that."""
BURST_IN_ALL = 1000
A_SECOND_IN_ALL = 100.0
MOST_EVENTS = 256
"""Events that are told apart; those beyond are counted together."""
OTHERS = "others"


@dataclass
class _Allowance:
    """Lines that may still be written; they come back with time."""

    left: float
    at: float

    def after(self, now: float, burst: int, a_second: float) -> float:
        return min(burst, self.left + max(0.0, now - self.at) * a_second)


class Gathering:
    """Lets through what people can read, and counts the rest. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._events: dict[str, _Allowance] = {}
        self._all = _Allowance(BURST_IN_ALL, 0.0)
        self._unwritten: dict[str, int] = {}

    def admits(self, event: str, now: float) -> bool:
        """Whether a line of this event is written; if not, it is counted."""
        name = event if event in self._events or self._make_room(now) else OTHERS
        own = self._events.setdefault(name, _Allowance(BURST, now))
        own.left, own.at = own.after(now, BURST, A_SECOND), now
        self._all.left, self._all.at = self._all.after(now, BURST_IN_ALL, A_SECOND_IN_ALL), now
        if own.left < 1 or self._all.left < 1:
            self._unwritten[name] = self._unwritten.get(name, 0) + 1
            return False
        own.left -= 1
        self._all.left -= 1
        return True

    def unwritten(self) -> dict[str, int]:
        """How many lines of which event were only counted since this was asked last."""
        counted, self._unwritten = self._unwritten, {}
        return counted

    def _make_room(self, now: float) -> bool:
        """Forget events that have all their lines again; whether one more may be told apart."""
        if len(self._events) >= MOST_EVENTS:
            full = [name for name, own in self._events.items() if own.after(now, BURST, A_SECOND) >= BURST]
            for name in full:
                del self._events[name]
        return len(self._events) < MOST_EVENTS
