"""The history of a sidebar: what each event of its life changed, by whom, and why."""

from __future__ import annotations

import json
from dataclasses import dataclass

from backchannel.protocol.message import Message, rfc3339
from backchannel.protocol.sidebar import (
    SidebarArchive,
    SidebarChildSpawn,
    SidebarCleanupWarning,
    SidebarClosed,
    SidebarFork,
    SidebarInvite,
    SidebarJoin,
    SidebarLeave,
    SidebarMerge,
    SidebarMessageBody,
    SidebarPause,
    SidebarResume,
    SidebarSpawn,
    SidebarStatusUpdate,
    SidebarTestResult,
    SidebarWaitingUpdate,
)
from backchannel.protocol.sidebar_status import SidebarStatus


@dataclass(frozen=True, slots=True)
class Move:
    """One event of a life. ``before`` and ``after`` are equal where it changed something else.

    ``about`` is another sidebar where it concerns that: a child that began or ended, or one that was awaited.
    """

    type: str
    by: str | None
    at: str
    before: SidebarStatus | None
    after: SidebarStatus | None
    why: str | None = None
    joined: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    about: str | None = None


def move_of(sidebar_id: str, event: Message) -> Move | None:
    """What an event in the life of a sidebar did to it; None for what is no part of a life."""
    if not isinstance(event, SidebarMessageBody):
        return None
    joined, left = _people(event)
    born = isinstance(event, SidebarSpawn | SidebarFork)
    return Move(
        type=event.type,
        by=event.by or event.sender_agent_id,
        at=rfc3339(event.timestamp),
        before=event.old_status or (None if born else event.status),
        after=event.status,
        why=_why(event),
        joined=joined,
        left=left,
        about=_about(sidebar_id, event),
    )


def _people(event: SidebarMessageBody) -> tuple[tuple[str, ...], tuple[str, ...]]:
    match event:
        case SidebarSpawn(members=members) | SidebarFork(members=members):
            return tuple(members or ()), ()
        case SidebarInvite(agents=agents):
            return tuple(agents), ()
        case SidebarJoin(by=str(agent)):
            return (agent,), ()
        case SidebarLeave(by=str(agent)):
            return (), (agent,)
    return (), ()


def _why(event: SidebarMessageBody) -> str | None:
    match event:
        case SidebarSpawn(task_description=why) | SidebarChildSpawn(sub_task_description=why):
            return why
        case SidebarFork(fork_reason=why) | SidebarArchive(archive_reason=why):
            return why
        case SidebarPause(reason=why) | SidebarResume(reason=why):
            return why
        case SidebarStatusUpdate(reason=reason) | SidebarClosed(reason=reason, consolidated_findings=None):
            return reason
        case SidebarClosed(consolidated_findings=found) | SidebarMerge(consolidated_findings=found):
            return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
        case SidebarWaitingUpdate(waiting_for=what, description=why):
            return f"{what}: {why}"
        case SidebarTestResult(result=result, test_description=what, findings=found):
            return f"{result}: {what} {found}"
        case SidebarCleanupWarning(message=why):
            return why
    return None


def _about(sidebar_id: str, event: SidebarMessageBody) -> str | None:
    match event:
        case SidebarChildSpawn(child_sidebar_id=other):
            return other
        case SidebarFork(original_sidebar_id=other, new_sidebar_id=fresh):
            return fresh if other == sidebar_id else other
        case SidebarMerge(sidebar_id=other) | SidebarClosed(sidebar_id=other) if other != sidebar_id:
            return other
        case SidebarWaitingUpdate(sidebar_id=other) if other != sidebar_id:
            return other
    return None
