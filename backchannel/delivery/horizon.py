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

    def openings(self, position: int) -> list[tuple[int, str]]:
        """Where sidebars begin to be seen behind `position`, in order: position of the first event, name."""
        found = [
            (start, name)
            for name, stretches in self.stretches.items()
            for start, _ in stretches
            if start > max(position + 1, self.born)
        ]
        return sorted(found)

    def widened(self, empty: Mapping[tuple[str, int], int]) -> Horizon:
        """The same view with fewer turns.

        Args:
            empty: by sidebar and the start of a stretch, a position between which and that start nothing lies
                in the sidebar. To be let see nothing is no different from not being let see.
        """
        if not empty:
            return self
        stretches = {
            name: tuple((empty.get((name, start), start - 1) + 1, end) for start, end in found)
            for name, found in self.stretches.items()
        }
        return Horizon(self.born, stretches, self.access)

    def _turns(self) -> Iterator[int]:
        yield self.born - 1
        for stretches in self.stretches.values():
            for start, end in stretches:
                if start > self.born:
                    yield start - 1
                if end is not None and end >= self.born:
                    yield end
