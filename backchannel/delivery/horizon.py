"""The horizon of a reader: what it sees at a position of the log, and where that changes next."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

Stretches = Mapping[str, tuple[tuple[int, int | None], ...]]
"""For each sidebar the stretches of the log in which an agent is in it, both ends included."""


@dataclass(frozen=True, slots=True)
class View:
    """What is seen behind a position: the sidebars, and whether all that is for everyone as well."""

    contexts: frozenset[str]
    born: bool


@dataclass(frozen=True, slots=True)
class Horizon:
    """One agent's: `born` is the position of the first event it sees of what is for everyone.

    `access` names sidebars that it may always read.
    """

    born: int
    stretches: Stretches
    access: Collection[str] = ()

    def behind(self, position: int) -> View:
        """What is seen of the event that follows `position`."""
        if position + 1 < self.born:
            return View(frozenset(), False)
        now = {
            name
            for name, stretches in self.stretches.items()
            if any(start <= position + 1 and (end is None or position + 1 <= end) for start, end in stretches)
        }
        return View(frozenset(now.union(self.access)), True)

    def next_turn(self, position: int) -> int | None:
        """The next position behind which another view counts than up to it; None if there is none."""
        return min((at for at in self._turns() if at > position), default=None)

    def _turns(self) -> Iterator[int]:
        yield self.born - 1
        for stretches in self.stretches.values():
            for start, end in stretches:
                if start > self.born:
                    yield start - 1
                if end is not None and end >= self.born:
                    yield end
