"""Who gives way: connections that only wait, by address, in the order in which they began to."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple, Protocol


class Seat(Protocol):
    """A place that is given back."""

    def retire(self) -> None: ...


class _Waiting(NamedTuple):
    go: Callable[[], object]
    since: float


class Yielding:
    """Connections of one kind that go when a newcomer has no room.

    Args:
        told: called for each that had to go.
    """

    def __init__(self, told: Callable[[], None]) -> None:
        self._told = told
        self._from: dict[Hashable, dict[Seat, _Waiting]] = {}

    def add(self, place: str, seat: Seat, go: Callable[[], object], since: float) -> None:
        self._from.setdefault(place, {})[seat] = _Waiting(go, since)

    def discard(self, place: str, seat: Seat) -> None:
        waiting = self._from.get(place)
        if waiting is not None and waiting.pop(seat, None) is not None and not waiting:
            del self._from[place]

    def one(self, before: float = float("inf")) -> bool:
        """Have the longest waiting of the address with most of them go, if it waits since before a moment."""
        crowded = max(self._from, key=lambda place: len(self._from[place]), default=None)
        return crowded is not None and self.one_from(crowded, before)

    def one_from(self, place: Hashable, before: float = float("inf")) -> bool:
        """The same of one address. Its place is free at once."""
        waiting = self._from.get(place)
        if not waiting:
            return False
        seat, (go, since) = next(iter(waiting.items()))
        if since > before:
            return False
        seat.retire()
        self._told()
        go()
        return True
