"""From the events of one sidebar's life to its state."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from pydantic_core import to_json

from backchannel.domain.sidebar.state import REMEMBERED, Ending, Sidebar, Waiting, Warned
from backchannel.protocol.identifier import PLATFORM
from backchannel.protocol.message import Message, rfc3339
from backchannel.protocol.sidebar import (
    SidebarArchive,
    SidebarChildSpawn,
    SidebarCleanupWarning,
    SidebarClosed,
    SidebarFork,
    SidebarLeave,
    SidebarMerge,
    SidebarMessageBody,
    SidebarPause,
    SidebarSpawn,
    SidebarStatusUpdate,
    SidebarTestResult,
    SidebarWaitingUpdate,
)
from backchannel.protocol.sidebar_status import SidebarPriority, SidebarStatus

TESTS_KEPT = 100
RESULTS_KEPT = 100
REFS_KEPT = 1000
FINDINGS_KEPT = 4096
"""Bytes of a child's findings that its parent's state carries; longer ones are read where they were told.
The merge of the parent passes all of its children's results on in one message."""
WAITING_STILL = frozenset({SidebarStatus.WAITING, SidebarStatus.PAUSED})
"""What is waited for is not forgotten over a pause."""


def fold(events: Iterable[tuple[int, Message]], start: Sidebar | None = None) -> Sidebar | None:
    """The state after ``events``, pairs of log position and event in log order, from ``start`` on."""
    sidebar = start
    for sequence, event in events:
        sidebar = evolve(sidebar, event, sequence)
    return sidebar


def evolve(sidebar: Sidebar | None, event: Message, sequence: int) -> Sidebar | None:
    """The state after one more event of this sidebar's life. Events it has seen already change nothing."""
    if not isinstance(event, SidebarMessageBody):
        return sidebar
    if sidebar is None:
        return _born(event, sequence)
    if sequence <= sidebar.sequence:
        return sidebar
    return _remember(_changed(sidebar, event, sequence), event, sequence)


def _born(event: SidebarMessageBody, sequence: int) -> Sidebar | None:
    match event:
        case SidebarSpawn():
            sidebar_id, forked_from, coordinator = event.sidebar_id, event.forked_from, event.coordinator
            task, auto_merge = event.task_description, event.auto_merge
        case SidebarFork():
            sidebar_id, forked_from, coordinator = event.new_sidebar_id, event.original_sidebar_id, None
            task, auto_merge = event.task_description or event.fork_reason, False
        case _:
            return None
    members = tuple(event.members or ())
    moment = rfc3339(event.timestamp)
    return Sidebar(
        sidebar_id=sidebar_id or "",
        parent_id=event.parent_id or "main",
        status=event.status or SidebarStatus.ACTIVE,
        priority=event.priority or SidebarPriority.NORMAL,
        task=task,
        created_by=event.by or event.sender_agent_id or "",
        created_at=moment,
        sequence=sequence,
        members=members,
        invited=members,
        coordinator=coordinator,
        success_criteria=event.success_criteria,
        auto_merge=auto_merge,
        inherited=tuple(event.inherited_context or ()),
        data_refs=tuple(event.data_refs or ()),
        cross_refs=tuple(event.cross_refs or ()),
        forked_from=forked_from,
        last_activity=moment,
        acted=sequence,
        applied=(event.cause,) if event.cause else (),
        put_in=_put_in((), members, event),
    )


def _remember(sidebar: Sidebar, event: SidebarMessageBody, sequence: int) -> Sidebar:
    """What every event changes: who is in, where it stands, what has been applied."""
    members = tuple(event.members) if event.members is not None else sidebar.members
    status = event.status or sidebar.status
    ours = event.by == PLATFORM
    return replace(
        sidebar,
        sequence=sequence,
        members=members,
        invited=sidebar.invited + tuple(agent for agent in members if agent not in sidebar.invited),
        status=status,
        waiting=sidebar.waiting if status in WAITING_STILL else None,
        warned=sidebar.warned if ours else None,
        last_activity=sidebar.last_activity if ours else rfc3339(event.timestamp),
        acted=sidebar.acted if ours else sequence,
        applied=(*sidebar.applied, event.cause)[-REMEMBERED:] if event.cause else sidebar.applied,
        put_in=_put_in(
            sidebar.put_in, [agent for agent in members if not sidebar.has(agent)], event, members
        ),
        departures=_departures(sidebar, event),
    )


def _put_in(
    former: Iterable[tuple[str, str]],
    fresh: Iterable[str],
    event: SidebarMessageBody,
    members: Collection[str] | None = None,
) -> tuple[tuple[str, str], ...]:
    """Who is in by another's doing and has not done anything to the sidebar since."""
    by = event.by or event.sender_agent_id or ""
    still = [
        (agent, other) for agent, other in former if agent != by and (members is None or agent in members)
    ]
    return (*still, *((agent, by) for agent in fresh if agent != by))


def _departures(sidebar: Sidebar, event: SidebarMessageBody) -> tuple[tuple[str, int], ...]:
    if not isinstance(event, SidebarLeave) or event.by is None:
        return sidebar.departures
    counted = dict(sidebar.departures)
    counted[event.by] = counted.get(event.by, 0) + 1
    return tuple(counted.items())


def _changed(sidebar: Sidebar, event: SidebarMessageBody, sequence: int) -> Sidebar:
    """What this kind of event changes besides."""
    match event:
        case SidebarChildSpawn(child_sidebar_id=str(child)):
            return replace(sidebar, children=(*sidebar.children, (child, True)))
        case SidebarMerge() if event.sidebar_id != sidebar.sidebar_id:
            return _child_merged(sidebar, event)
        case SidebarClosed() if event.sidebar_id != sidebar.sidebar_id:
            return _no_more_awaited(_child_ended(sidebar, event.sidebar_id), event.sidebar_id)
        case SidebarClosed(final_status=status):
            told = Ending(status, event.by, event.reason, event.consolidated_findings, event.success)
            return replace(sidebar, ending=told, children=_all_ended(sidebar))
        case SidebarArchive(archive_reason=reason):
            kept = sidebar.ending or Ending(SidebarStatus.ARCHIVED, event.by, reason)
            return replace(sidebar, ending=kept)
        case SidebarStatusUpdate(new_status=SidebarStatus.FAILED, reason=reason):
            return replace(sidebar, ending=Ending(SidebarStatus.FAILED, event.by, reason))
        case SidebarPause(resume_condition=condition):
            return replace(sidebar, resume_condition=condition)
        case SidebarWaitingUpdate():
            return _waiting(sidebar, event)
        case SidebarCleanupWarning(next_status=status, at=at):
            return replace(sidebar, warned=Warned(status, at, sequence))
        case SidebarTestResult(test_description=what_was_tested, result=result):
            return replace(sidebar, tests=(*sidebar.tests, (what_was_tested[:200], result))[-TESTS_KEPT:])
        case _ if event.status is SidebarStatus.ACTIVE:
            return replace(sidebar, resume_condition=None)
    return sidebar


def _waiting(sidebar: Sidebar, event: SidebarWaitingUpdate) -> Sidebar:
    """It waits; or somebody waits for it; or what it waits for takes longer than was thought."""
    if event.sidebar_id != sidebar.sidebar_id:
        waiter = (event.sidebar_id, event.sender_agent_id or event.by or "")
        others = tuple(known for known in sidebar.waiters if known != waiter)
        return replace(sidebar, waiters=(*others, waiter))
    if event.overdue:
        late = replace(sidebar.waiting, overdue=True) if sidebar.waiting else None
        return replace(sidebar, waiting=late)
    what = Waiting(
        event.waiting_for,
        event.description,
        event.estimated_wait_time,
        tuple(dict.fromkeys(event.dependency_refs)),
        event.cause or "",
        event.until,
    )
    return replace(sidebar, waiting=what)


def _no_more_awaited(sidebar: Sidebar, ended: str) -> Sidebar:
    if sidebar.waiting is None or ended not in sidebar.waiting.dependencies:
        return sidebar
    left = tuple(name for name in sidebar.waiting.dependencies if name != ended)
    return replace(sidebar, waiting=replace(sidebar.waiting, dependencies=left))


def _child_ended(sidebar: Sidebar, child: str) -> Sidebar:
    return replace(
        sidebar, children=tuple((known, still and known != child) for known, still in sidebar.children)
    )


def _all_ended(sidebar: Sidebar) -> tuple[tuple[str, bool], ...]:
    """Whatever was open below it has ended with it, or it could not have ended."""
    return tuple((child, False) for child, _ in sidebar.children)


def _child_merged(sidebar: Sidebar, event: SidebarMerge) -> Sidebar:
    told: dict[str, Any] = {"sidebar_id": event.sidebar_id, "success": event.success}
    if len(to_json(event.consolidated_findings)) <= FINDINGS_KEPT:
        told["consolidated_findings"] = event.consolidated_findings
    else:
        told["findings_in"] = event.sidebar_id
    refs = tuple(ref for ref in event.data_refs or () if ref not in sidebar.data_refs)
    return replace(
        _child_ended(sidebar, event.sidebar_id),
        child_results=(*sidebar.child_results, told)[-RESULTS_KEPT:],
        data_refs=(*sidebar.data_refs, *refs)[-REFS_KEPT:],
        cross_refs=(*sidebar.cross_refs, event.sidebar_id)[-REFS_KEPT:],
    )
