"""The roster: which connections each agent has here, and who must go for one more to come in."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

MOST = 2
"""Connections an agent may have, of which one may be active."""

PURPOSES = ("primary", "observer", "backup")


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

    def rivals(self, group: str, agent: str, *, active: bool) -> list[P]:
        """Connections of which one must go before another comes in; empty if there is room."""
        present = self.of(group, agent)
        if active and (rivals := [one for one in present if one.active]):
            return rivals
        return present if len(present) >= MOST else []

    def purpose(self, group: str, agent: str, wanted: str) -> str:
        """The purpose under which a newcomer's position is kept: the wanted one, or one not in use here."""
        taken = {one.purpose for one in self.of(group, agent)}
        return next((one for one in (wanted, *reversed(PURPOSES)) if one not in taken), wanted)
