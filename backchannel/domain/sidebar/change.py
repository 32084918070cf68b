"""What may happen to an open sidebar: people come and go, it moves, and is tested."""

from __future__ import annotations

from typing import Any

from backchannel.domain.decision import Decision, Outgoing
from backchannel.domain.invitation import MOST_DEPARTURES
from backchannel.domain.rights import Action
from backchannel.domain.sidebar.ask import Ask
from backchannel.domain.sidebar.moves import require_move
from backchannel.domain.sidebar.state import Sidebar
from backchannel.errors import Forbidden, IllegalTransition, TooLarge
from backchannel.protocol.lane import Lane
from backchannel.protocol.sidebar import (
    SidebarInvite,
    SidebarJoin,
    SidebarLeave,
    SidebarMessageBody,
    SidebarPause,
    SidebarResume,
    SidebarStatusUpdate,
    SidebarTestResult,
)
from backchannel.protocol.sidebar_status import SidebarStatus
from backchannel.protocol.subject import InContext

ENDS_OTHERWISE = {
    SidebarStatus.MERGED: "sidebar_merge, which carries the findings",
    SidebarStatus.ARCHIVED: "sidebar_archive, which says why",
}


def invite(ask: Ask, command: SidebarInvite) -> Decision:
    """Bring agents in; those who are in already stay, and nothing is said twice."""
    sidebar = open_for(ask, command.sidebar_id, Action.INVITE)
    fresh = [agent for agent in dict.fromkeys(command.agents) if not sidebar.has(agent)]
    members = [*sidebar.members, *fresh]
    largest = ask.settings.sidebar.max_participants
    if len(members) > largest:
        raise TooLarge(
            f"A sidebar holds {largest} participants at most; this would make {len(members)}.", field="agents"
        )
    if not fresh:
        return Decision(result=_standing(sidebar) | {"invited": []})
    _leave_in_peace(sidebar, fresh)
    ask.require_welcome(fresh, "agents")
    told = command.model_copy(update={"agents": fresh})
    return one(ask, sidebar, told, members=members, invited=fresh)


def _leave_in_peace(sidebar: Sidebar, agents: list[str]) -> None:
    """
    Raises:
        Forbidden: one of them has left it again and again.
    """
    departures = dict(sidebar.departures)
    for agent in agents:
        if departures.get(agent, 0) >= MOST_DEPARTURES:
            raise Forbidden(
                f"{agent} has left the sidebar {sidebar.sidebar_id} {departures[agent]} times; it can join"
                " by itself.",
                field="agents",
            )


def join(ask: Ask, command: SidebarJoin) -> Decision:
    """Come in, for whoever was invited before or has access by its token."""
    sidebar = ask.require(Action.JOIN, command.sidebar_id)
    if sidebar.has(ask.sender):
        return Decision(result=_standing(sidebar))
    _require_open(sidebar)
    return one(ask, sidebar, command, members=[*sidebar.members, ask.sender])


def leave(ask: Ask, command: SidebarLeave) -> Decision:
    """Go out. The last one may too: agents vanish, the sidebar does not."""
    sidebar = ask.require(Action.LEAVE, command.sidebar_id)
    if not sidebar.has(ask.sender):
        return Decision(result=_standing(sidebar))
    return one(ask, sidebar, command, members=[agent for agent in sidebar.members if agent != ask.sender])


def pause(ask: Ask, command: SidebarPause) -> Decision:
    return move(ask, command, command.sidebar_id, SidebarStatus.PAUSED, Action.PAUSE)


def resume(ask: Ask, command: SidebarResume) -> Decision:
    return move(ask, command, command.sidebar_id, SidebarStatus.ACTIVE, Action.RESUME)


def record_test(ask: Ask, command: SidebarTestResult) -> Decision:
    return one(ask, open_for(ask, command.sidebar_id, Action.TEST), command)


def update_status(ask: Ask, command: SidebarStatusUpdate) -> Decision:
    """Any move of the table but the two endings that need more than a status."""
    if other := ENDS_OTHERWISE.get(command.new_status):
        sidebar = ask.require(Action.MOVE, command.sidebar_id)
        require_move(sidebar.sidebar_id, sidebar.status, command.new_status)
        raise IllegalTransition(
            f"A sidebar becomes {command.new_status.value} by {other}.", field="new_status"
        )
    return move(ask, command, command.sidebar_id, command.new_status, _action(command.new_status))


def move(
    ask: Ask, command: SidebarMessageBody, sidebar_id: str, status: SidebarStatus, action: Action
) -> Decision:
    """
    Raises:
        Forbidden: the sender may not take this action.
        IllegalTransition: the table of moves does not have this one.
    """
    sidebar = ask.require(action, sidebar_id)
    require_move(sidebar_id, sidebar.status, status)
    return one(ask, sidebar, command, status=status)


def one(
    ask: Ask,
    sidebar: Sidebar,
    command: SidebarMessageBody,
    *,
    status: SidebarStatus | None = None,
    members: list[str] | None = None,
    **more: Any,
) -> Decision:
    """One event on the sidebar's life, saying how things stand after it."""
    after = status or sidebar.status
    within = list(sidebar.members) if members is None else members
    event = command.model_copy(
        update={
            "status": after,
            "old_status": sidebar.status,
            "members": within,
            "by": ask.sender,
            "cause": ask.key,
        }
    )
    out = Outgoing(InContext(sidebar.sidebar_id, "life"), Lane(sidebar.priority.value), event)
    return Decision(
        (out,), _standing(sidebar) | {"sidebar_status": after.value, "participants": within, **more}
    )


def _standing(sidebar: Sidebar) -> dict[str, Any]:
    return {
        "sidebar_id": sidebar.sidebar_id,
        "sidebar_status": sidebar.status.value,
        "participants": list(sidebar.members),
    }


def _action(status: SidebarStatus) -> Action:
    """A status update that says what a command of its own would say needs the same right."""
    return {
        SidebarStatus.PAUSED: Action.PAUSE,
        SidebarStatus.WAITING: Action.WAIT,
        SidebarStatus.FAILED: Action.FAIL,
    }.get(status, Action.MOVE)


def open_for(ask: Ask, sidebar_id: str, action: Action) -> Sidebar:
    sidebar = ask.require(action, sidebar_id)
    _require_open(sidebar)
    return sidebar


def _require_open(sidebar: Sidebar) -> None:
    if not sidebar.open:
        raise IllegalTransition(
            f"The sidebar {sidebar.sidebar_id} is {sidebar.status.value}; it can only be read, or forked.",
            field="sidebar_id",
        )
