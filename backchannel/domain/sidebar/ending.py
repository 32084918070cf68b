"""How a sidebar ends: merged into its parent, archived, or failed; with its children, if asked."""

from __future__ import annotations

from typing import Any

from backchannel.domain.decision import Decision, Outgoing
from backchannel.domain.rights import Action
from backchannel.domain.sidebar.ask import Ask
from backchannel.domain.sidebar.change import update_status
from backchannel.domain.sidebar.fold import REFS_KEPT
from backchannel.domain.sidebar.moves import require_move
from backchannel.domain.sidebar.state import Sidebar
from backchannel.domain.sidebar.wait import told_to_waiting
from backchannel.errors import IllegalTransition
from backchannel.protocol.identifier import MAIN
from backchannel.protocol.lane import Lane
from backchannel.protocol.sidebar import (
    ContextRange,
    SidebarArchive,
    SidebarClosed,
    SidebarMerge,
    SidebarStatusUpdate,
)
from backchannel.protocol.sidebar_status import SidebarStatus
from backchannel.protocol.subject import InContext


def merge(ask: Ask, command: SidebarMerge) -> Decision:
    """Findings into the parent's context, the sidebar closed, its open children as asked: one step.

    Merging what is merged says so and does nothing.
    """
    sidebar = ask.require(Action.MERGE, command.sidebar_id)
    if sidebar.status is SidebarStatus.MERGED:
        return Decision(result=_merged(sidebar.sidebar_id, sidebar.parent_id) | {"already": True})
    require_move(sidebar.sidebar_id, sidebar.status, SidebarStatus.MERGED)
    children = _open_children(ask, sidebar, command)
    events: list[Outgoing] = []
    results = list(sidebar.child_results)
    ending = SidebarStatus.MERGED if command.open_children == "merge" else SidebarStatus.ARCHIVED
    for child in children:
        events.append(_closed(ask, child, ending, None))
        results.append({"sidebar_id": child.sidebar_id, "ended_with_parent": ending.value})
    events.append(_into_parent(ask, sidebar, command, results))
    events.append(_closed(ask, sidebar, SidebarStatus.MERGED, command))
    ended = {child.sidebar_id: ending for child in children} | {sidebar.sidebar_id: SidebarStatus.MERGED}
    events += told_to_waiting(ask, ended)
    return Decision(
        tuple(events), _merged(sidebar.sidebar_id, sidebar.parent_id) | {"success": command.success}
    )


def brings(ask: Ask) -> tuple[str, ...]:
    """The contexts whose content a merge brings to the parent; none where nothing comes of it.

    A child that ends with it brings nothing up which its merger may not read.

    Raises:
        IllegalTransition: there are open children, and the command does not say what becomes of them.
    """
    command = ask.command
    sidebar = ask.known.get(command.sidebar_id) if isinstance(command, SidebarMerge) else None
    if not isinstance(command, SidebarMerge) or sidebar is None or not sidebar.open:
        return ()
    if not ask.may(Action.MERGE, sidebar):
        return ()
    children = _open_children(ask, sidebar, command) if command.open_children == "merge" else []
    return (sidebar.sidebar_id, *(each.sidebar_id for each in children if ask.may(Action.READ, each)))


def archive(ask: Ask, command: SidebarArchive) -> Decision:
    """Put it away. A parent that still waits for it is told."""
    sidebar = ask.require(Action.ARCHIVE, command.sidebar_id)
    result = {"sidebar_id": sidebar.sidebar_id, "sidebar_status": SidebarStatus.ARCHIVED.value}
    if sidebar.status is SidebarStatus.ARCHIVED:
        return Decision(result=result | {"already": True})
    require_move(sidebar.sidebar_id, sidebar.status, SidebarStatus.ARCHIVED)
    _refuse_open_children(sidebar, "archived")
    event = command.model_copy(
        update={
            "status": SidebarStatus.ARCHIVED,
            "old_status": sidebar.status,
            "final_status": sidebar.status,
            "members": list(sidebar.members),
            "by": ask.sender,
            "cause": ask.key,
        }
    )
    out = Outgoing(InContext(sidebar.sidebar_id, "life"), Lane(sidebar.priority.value), event)
    told = _others_told(ask, sidebar, SidebarStatus.ARCHIVED, command.archive_reason) if sidebar.open else ()
    return Decision((out, *told), result)


def fail(ask: Ask, command: SidebarStatusUpdate) -> Decision:
    """A status update to ``failed``; the parent is told with the reason."""
    decision = update_status(ask, command)
    sidebar = ask.existing(command.sidebar_id)
    told = _others_told(ask, sidebar, SidebarStatus.FAILED, command.reason)
    return Decision((*decision.events, *told), decision.result)


def _merged(sidebar_id: str, parent_id: str) -> dict[str, Any]:
    return {"sidebar_id": sidebar_id, "sidebar_status": SidebarStatus.MERGED.value, "parent_id": parent_id}


def _open_children(ask: Ask, sidebar: Sidebar, command: SidebarMerge) -> list[Sidebar]:
    """Every open descendant, deepest first.

    Raises:
        IllegalTransition: there are some, and the command does not say what becomes of them.
    """
    if command.open_children == "refuse":
        _refuse_open_children(sidebar, "merged")
    found: list[Sidebar] = []
    for child_id in sidebar.open_children:
        child = ask.existing(child_id)
        found.extend(_open_children(ask, child, command))
        if child.open:
            found.append(child)
    return found


def _refuse_open_children(sidebar: Sidebar, what: str) -> None:
    if sidebar.open_children:
        named = ", ".join(sidebar.open_children[:10])
        raise IllegalTransition(
            f"The sidebar {sidebar.sidebar_id} cannot be {what} while it has open children ({named});"
            " end them first" + (", or say open_children: merge or archive." if what == "merged" else "."),
            field="open_children" if what == "merged" else "sidebar_id",
        )


def _into_parent(ask: Ask, sidebar: Sidebar, command: SidebarMerge, results: list[Any]) -> Outgoing:
    """The parent's record of it. In a sidebar it is part of its life, in ``main`` of its memory."""
    parent = ask.known.get(sidebar.parent_id)
    refs = dict.fromkeys((*sidebar.data_refs, *ask.brought.data_refs))
    event = command.model_copy(
        update={
            "parent_id": sidebar.parent_id,
            "by": ask.sender,
            "cause": ask.key,
            "data_refs": list(refs)[-REFS_KEPT:],
            "child_results": results,
            "merged_exchanges": [dict(exchange) for exchange in ask.brought.exchanges],
            "merged_context": [
                ContextRange(context_id=name, start=ask.start, to=ask.head) for name in brings(ask)
            ],
            "status": parent.status if parent else None,
            "old_status": None,
            "members": list(parent.members) if parent else None,
        }
    )
    kind = InContext(sidebar.parent_id, "life") if parent else InContext(MAIN, "memory")
    return Outgoing(kind, Lane(sidebar.priority.value), event)


def _closed(ask: Ask, sidebar: Sidebar, status: SidebarStatus, command: SidebarMerge | None) -> Outgoing:
    """The last event of the sidebar's own life."""
    event = SidebarClosed(
        message_id=ask.command.message_id,
        timestamp=ask.now,
        sender_agent_id=ask.sender,
        causation_id=str(ask.command.message_id),
        sidebar_id=sidebar.sidebar_id,
        parent_id=sidebar.parent_id,
        final_status=status,
        status=status,
        old_status=sidebar.status,
        members=list(sidebar.members),
        by=ask.sender,
        cause=ask.key,
        reason=None if command else f"Its parent was merged by {ask.sender}.",
        consolidated_findings=command.consolidated_findings if command else None,
        success=command.success if command else None,
    )
    return Outgoing(InContext(sidebar.sidebar_id, "life"), Lane(sidebar.priority.value), event)


def _others_told(
    ask: Ask, sidebar: Sidebar, status: SidebarStatus, reason: str | None
) -> tuple[Outgoing, ...]:
    """The parent, and those who wait for it; a parent that waits is told once."""
    parent = _parent_told(ask, sidebar, status, reason)
    waiting = told_to_waiting(ask, {sidebar.sidebar_id: status}, but=sidebar.parent_id if parent else "")
    return (*parent, *waiting)


def _parent_told(ask: Ask, child: Sidebar, status: SidebarStatus, reason: str | None) -> tuple[Outgoing, ...]:
    """The parent's life keeps that this child has ended; ``main`` has no life to keep it in."""
    parent = ask.known.get(child.parent_id)
    if parent is None:
        return ()
    event = SidebarClosed(
        message_id=ask.command.message_id,
        timestamp=ask.now,
        sender_agent_id=ask.sender,
        causation_id=str(ask.command.message_id),
        sidebar_id=child.sidebar_id,
        parent_id=parent.sidebar_id,
        final_status=status,
        status=parent.status,
        members=list(parent.members),
        by=ask.sender,
        cause=ask.key,
        reason=reason,
    )
    return (Outgoing(InContext(parent.sidebar_id, "life"), Lane(parent.priority.value), event),)
