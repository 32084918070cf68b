"""The audience: which agents see which context, and at which positions of the log."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from backchannel.delivery.cursor import Cursor
from backchannel.protocol.identifier import MAIN
from backchannel.protocol.sidebar import ContextRange
from backchannel.protocol.sidebar_status import SidebarStatus
from backchannel.protocol.subject import Destination, InContext, InInbox, ToEveryone

CLOSED: frozenset[str] = frozenset({SidebarStatus.MERGED, SidebarStatus.ARCHIVED, SidebarStatus.FAILED})
"""Statuses in which a sidebar takes no more messages."""

NOBODY: frozenset[str] = frozenset()
MOST_STAYS = 64
"""Stretches for which one agent was in a sidebar that are told; the newest, if there are more."""


@dataclass(frozen=True, slots=True)
class Life:
    """What an event in a sidebar's life says of it: where it stands and who is in it from then on."""

    status: str | None
    members: frozenset[str] | None


def life(event: Mapping[str, Any]) -> Life:
    """The life in a stored event. What has the wrong shape counts as not said."""
    status, members = event.get("status"), event.get("members")
    return Life(
        status=status if isinstance(status, str) else None,
        members=frozenset(map(str, members)) if isinstance(members, list) else None,
    )


@dataclass(frozen=True, slots=True)
class Change:
    """Who came into a context and who went, by one event."""

    joined: frozenset[str] = NOBODY
    left: frozenset[str] = NOBODY


@dataclass(slots=True)
class _Context:
    sequence: int = 0
    status: str = SidebarStatus.ACTIVE.value
    members: frozenset[str] = NOBODY
    # For each agent the stretches it was in, oldest first, both ends included; an open one ends with None.
    stretches: dict[str, list[tuple[int, int | None]]] = field(default_factory=dict)


class Membership:
    """The fold of every sidebar's life events. Grows with what the log holds, and with nothing else.

    An agent sees what happens in a sidebar from the event that brought it in up to the event that took it
    out, both included. `main` and what is for everyone is seen by all, an inbox by its agent only.
    """

    __slots__ = ("_contexts", "_current")

    def __init__(self) -> None:
        self._contexts: dict[str, _Context] = {}
        self._current: dict[str, set[str]] = {}

    def fold(self, sequence: int, context_id: str, event: Life) -> Change:
        """Take in the event at `sequence` of a context's life, in log order; one taken before is nothing."""
        if context_id == MAIN:
            return Change()
        context = self._contexts.setdefault(context_id, _Context())
        if sequence <= context.sequence:
            return Change()
        context.sequence = sequence
        context.status = event.status or context.status
        if event.members is None or event.members == context.members:
            return Change()
        change = Change(joined=event.members - context.members, left=context.members - event.members)
        self._apply(context_id, context, change, sequence)
        context.members = event.members
        return change

    def sees(self, agent: str, to: Destination, sequence: int, access: Collection[str] = NOBODY) -> bool:
        """Whether `agent` sees an event for `to` at `sequence`.

        `access` names sidebars that it may always read.
        """
        match to:
            case ToEveryone():
                return True
            case InInbox(owner):
                return owner == agent
            case InContext(context_id):
                return context_id == MAIN or context_id in access or self._was_in(agent, context_id, sequence)

    def knows(self, context_id: str) -> bool:
        return context_id == MAIN or context_id in self._contexts

    def is_open(self, context_id: str) -> bool:
        """Whether a known context still takes messages."""
        return context_id == MAIN or self._contexts[context_id].status not in CLOSED

    def status(self, context_id: str) -> str | None:
        found = self._contexts.get(context_id)
        return found.status if found else None

    def changed_at(self, context_id: str) -> int:
        """The position of the last event in a sidebar's life; 0 for one that is not known."""
        found = self._contexts.get(context_id)
        return found.sequence if found else 0

    def members(self, context_id: str) -> frozenset[str]:
        """Who is in a sidebar now; nobody is in one that is not known."""
        found = self._contexts.get(context_id)
        return found.members if found else NOBODY

    def contexts_of(self, agent: str) -> Iterable[str]:
        """The sidebars an agent is in now."""
        return self._current.get(agent, ())

    def ever_of(self, agent: str) -> list[str]:
        """The sidebars an agent is or was in."""
        return [name for name, context in self._contexts.items() if agent in context.stretches]

    def stretches_of(self, agent: str) -> dict[str, tuple[tuple[int, int | None], ...]]:
        """For each sidebar that an agent is or was in, from which event on and up to which, both included."""
        return {
            name: tuple(context.stretches[agent])
            for name, context in self._contexts.items()
            if agent in context.stretches
        }

    def stays(self, agent: str, context_id: str, epoch: str) -> tuple[ContextRange, ...]:
        """Where an agent was in a sidebar, newest first: positions of the log with that epoch."""
        found = self._contexts.get(context_id)
        stretches = found.stretches.get(agent, []) if found is not None else []
        ended = [(start, end) for start, end in reversed(stretches) if end is not None]
        return tuple(
            ContextRange(
                context_id=context_id, start=str(Cursor(epoch, start - 1)), to=str(Cursor(epoch, end))
            )
            for start, end in ended[:MOST_STAYS]
        )

    def _was_in(self, agent: str, context_id: str, sequence: int) -> bool:
        context = self._contexts.get(context_id)
        if context is None:
            return False
        return any(
            start <= sequence and (end is None or sequence <= end)
            for start, end in context.stretches.get(agent, ())
        )

    def _apply(self, context_id: str, context: _Context, change: Change, sequence: int) -> None:
        for agent in change.joined:
            context.stretches.setdefault(agent, []).append((sequence, None))
            self._current.setdefault(agent, set()).add(context_id)
        for agent in change.left:
            stretches = context.stretches[agent]
            stretches[-1] = (stretches[-1][0], sequence)
            self._forget(agent, context_id)

    def _forget(self, agent: str, context_id: str) -> None:
        still = self._current[agent]
        still.discard(context_id)
        if not still:
            del self._current[agent]
