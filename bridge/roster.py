"""The roster: which connections each agent has at this bridge."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar


class Present(Protocol):
    """A connection that has been let in."""

    @property
    def owner(self) -> tuple[str, str]:
        """Its group and agent."""

    @property
    def active(self) -> bool: ...
    @property
    def purpose(self) -> str: ...


P = TypeVar("P", bound=Present)


class Roster(Generic[P]):
    """Every connection that has been let in, by agent."""

    def __init__(self) -> None:
        self._present: dict[tuple[str, str], list[P]] = {}

    def of(self, group: str, agent: str) -> list[P]:
        return list(self._present.get((group, agent), ()))

    def enter(self, newcomer: P) -> None:
        self._present.setdefault(newcomer.owner, []).append(newcomer)

    def leave(self, present: P) -> bool:
        """Whether it had been let in."""
        owner = present.owner
        found = self._present.get(owner, [])
        if present not in found:
            return False
        found.remove(present)
        if not found:
            del self._present[owner]
        return True
