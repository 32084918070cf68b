"""Waiting: what for, until when, never in a circle; and who is told when it has ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID

from backchannel.domain.decision import Decision, Outgoing
from backchannel.domain.rights import Action, Asker, may
from backchannel.domain.sidebar.ask import Ask
from backchannel.domain.sidebar.change import one, open_for
from backchannel.domain.sidebar.moves import require_move
from backchannel.domain.sidebar.notice import waited_for
from backchannel.domain.sidebar.state import OTHER_SIDEBAR, Sidebar
from backchannel.errors import TooLarge, WouldDeadlock
from backchannel.protocol.identifier import PLATFORM
from backchannel.protocol.lane import Lane
from backchannel.protocol.message import Message, rfc3339
from backchannel.protocol.sidebar import SidebarClosed, SidebarWaitingUpdate
from backchannel.protocol.sidebar_status import SidebarStatus
from backchannel.protocol.subject import InContext

WAITS = "waits"
"""What two decisions of one group may not add to at once: together they might close a circle."""
MOST_AWAITED = 64
MOST_WAITING = 256
MOST_WAITING_OF_ONE = 64
"""Sidebars of which one agent may say that they wait for the same other one: room is left for others."""


def awaited(command: SidebarWaitingUpdate) -> tuple[str, ...]:
    """The sidebars a command waits for. What else may be waited for has references of its own kind.

    Raises:
        TooLarge: they are too many, whatever they are; nobody need look them up.
    """
    names = tuple(dict.fromkeys(command.dependency_refs))
    if len(names) > MOST_AWAITED:
        raise TooLarge(
            f"A sidebar can wait for {MOST_AWAITED} others at a time, not for {len(names)}.",
            field="dependency_refs",
        )
    return names if command.waiting_for == OTHER_SIDEBAR else ()


def wait(ask: Ask, command: SidebarWaitingUpdate) -> Decision:
    """Say what is waited for; said again, it replaces what was said before.

    Sidebars that are waited for keep that in their own lives, in the same step; in the platform's words, and
    once, however often it is said. Of those that have ended already it is told at once.

    Raises:
        Forbidden: the sender may not have one of the sidebars waited for, or there is none.
        WouldDeadlock: waiting for them would close a circle; the sentence names it.
        TooLarge: too many wait, or are waited for.
    """
    sidebar = open_for(ask, command.sidebar_id, Action.WAIT)
    if sidebar.status is not SidebarStatus.WAITING:
        require_move(sidebar.sidebar_id, sidebar.status, SidebarStatus.WAITING)
    others = _others(ask, command)
    _refuse_circle(ask, sidebar, others)
    estimate = command.estimated_wait_time
    until = None if estimate is None else rfc3339(ask.now + timedelta(seconds=estimate))
    said = command.model_copy(update={"until": until, "overdue": False})
    decision = one(ask, sidebar, said, status=SidebarStatus.WAITING)
    still = [other for other in others if other.open]
    over = [other for other in others if not other.open]
    told = [
        waited_for(ask, other, sidebar.sidebar_id)
        for other in still
        if (sidebar.sidebar_id, ask.sender) not in other.waiters
    ]
    told += [_ended(ask, sidebar, other, other.status, SidebarStatus.WAITING) for other in over]
    result = {
        "until": until,
        "waits_for": [other.sidebar_id for other in still],
        "ended": {other.sidebar_id: other.status.value for other in over},
    }
    in_order = (WAITS,) if still else ()
    return Decision((*decision.events, *told), {**decision.result, **result}, in_order=in_order)


def told_to_waiting(ask: Ask, ended: Mapping[str, SidebarStatus], but: str = "") -> tuple[Outgoing, ...]:
    """What every sidebar hears that waits for one of those that end now; ``but`` is told in another way."""
    told = []
    for sidebar_id, status in ended.items():
        sidebar = ask.existing(sidebar_id)
        for name in sidebar.awaited_by:
            waiter = ask.known.get(name)
            if waiter is None or name == but or name in ended or sidebar_id not in waiter.waits_for:
                continue
            if not _may_still_be_told(ask, sidebar, name):
                continue
            told.append(_ended(ask, waiter, sidebar, status, waiter.status))
    return tuple(told)


def _may_still_be_told(ask: Ask, ended: Sidebar, waiting_id: str) -> bool:
    """Whether one of those who said that it waits may still look at what has ended."""
    parent = ask.known.get(ended.parent_id)
    askers = (agent for name, agent in ended.waiters if name == waiting_id)
    return any(may(Action.LOOK, Asker(agent), ended, parent) for agent in askers)


def overdue(sidebar: Sidebar | None, cause: str, message_id: UUID, now: datetime) -> Decision:
    """The notice that an estimate has passed, if the sidebar still waits for what ``cause`` said."""
    key = f"{PLATFORM}:{message_id}"
    if sidebar is None or sidebar.status is not SidebarStatus.WAITING or sidebar.waiting is None:
        return Decision()
    waiting = sidebar.waiting
    if waiting.cause != cause or waiting.overdue:
        return Decision()
    event = SidebarWaitingUpdate(
        message_id=message_id,
        timestamp=now,
        sender_agent_id=PLATFORM,
        sidebar_id=sidebar.sidebar_id,
        waiting_for=waiting.waiting_for,
        description=waiting.description,
        estimated_wait_time=waiting.estimate,
        dependency_refs=list(waiting.dependencies),
        until=waiting.until,
        overdue=True,
        status=sidebar.status,
        old_status=sidebar.status,
        members=list(sidebar.members),
        by=PLATFORM,
        cause=key,
    )
    return Decision((_on_life_of(sidebar, event),))


def _others(ask: Ask, command: SidebarWaitingUpdate) -> list[Sidebar]:
    others = [ask.require(Action.AWAIT, name, "dependency_refs") for name in awaited(command)]
    for other in others:
        if other.open and (command.sidebar_id, ask.sender) not in other.waiters:
            _require_room(other, ask.sender)
    return others


def _require_room(other: Sidebar, sender: str) -> None:
    """
    Raises:
        TooLarge: as many wait for it as may, of this sender or in all.
    """
    own = sum(1 for _, agent in other.waiters if agent == sender)
    if own >= MOST_WAITING_OF_ONE or len(other.waiters) >= MOST_WAITING:
        raise TooLarge(
            f"{len(other.waiters)} sidebars have waited for {other.sidebar_id} already, {own} of them by the"
            f" word of {sender}; wait for one of those.",
            field="dependency_refs",
        )


def _refuse_circle(ask: Ask, sidebar: Sidebar, others: list[Sidebar]) -> None:
    """
    Raises:
        WouldDeadlock: one of the others waits for this sidebar, or for one that does, and so on.
    """
    start = sidebar.sidebar_id
    seen: set[str] = set()
    frontier: list[tuple[str, tuple[str, ...]]] = [
        (other.sidebar_id, (start, other.sidebar_id)) for other in others if other.open
    ]
    while frontier:
        name, path = frontier.pop(0)
        if name == start:
            shown = (_name_of(ask, each) for each in path)
            circle = ", ".join(f"{waiter} waits for {other}" for waiter, other in pairwise(shown))
            raise WouldDeadlock(
                f"That would never end: {circle}. One of them must go on without waiting.",
                field="dependency_refs",
            )
        found = ask.known.get(name)
        if name in seen or found is None or not found.open:
            continue
        seen.add(name)
        frontier += [(further, (*path, further)) for further in found.waits_for]


def _name_of(ask: Ask, sidebar_id: str) -> str:
    """Its name, for who may look at it."""
    found = ask.known.get(sidebar_id)
    return sidebar_id if found is not None and ask.may(Action.LOOK, found) else "another sidebar"


def _on_life_of(sidebar: Sidebar, event: Message) -> Outgoing:
    return Outgoing(InContext(sidebar.sidebar_id, "life"), Lane(sidebar.priority.value), event)


def _ended(
    ask: Ask, waiter: Sidebar, sidebar: Sidebar, final: SidebarStatus, standing: SidebarStatus
) -> Outgoing:
    """That a sidebar has ended, on the life of one that waits for it. What was found there is not told."""
    event = SidebarClosed(
        message_id=ask.command.message_id,
        timestamp=ask.now,
        sender_agent_id=ask.sender,
        causation_id=str(ask.command.message_id),
        sidebar_id=sidebar.sidebar_id,
        awaited_by=waiter.sidebar_id,
        final_status=final,
        status=standing,
        members=list(waiter.members),
        by=ask.sender,
        cause=ask.key,
    )
    return _on_life_of(waiter, event)
