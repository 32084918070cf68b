"""How a sidebar begins: spawned, spawned below another, or forked."""

from __future__ import annotations

from typing import Any

from backchannel.domain.decision import Decision, Outgoing
from backchannel.domain.matching import match
from backchannel.domain.rights import Action
from backchannel.domain.sidebar import notice
from backchannel.domain.sidebar.ask import Ask
from backchannel.domain.sidebar.inherit import inherited_by_child, inherited_by_fork
from backchannel.domain.sidebar.state import Sidebar
from backchannel.errors import Conflict, IllegalTransition, TooLarge
from backchannel.protocol.identifier import MAIN, RESERVED_NAMES
from backchannel.protocol.lane import Lane
from backchannel.protocol.message import rfc3339
from backchannel.protocol.sidebar import ContextRange, SidebarChildSpawn, SidebarFork, SidebarSpawn
from backchannel.protocol.sidebar_status import SidebarPriority, SidebarStatus
from backchannel.protocol.subject import InContext


def spawn(ask: Ask, command: SidebarSpawn) -> Decision:
    """Open a sidebar under ``main`` or under a sidebar the sender is in."""
    parent = None if command.parent_id == MAIN else ask.require(Action.SPAWN, command.parent_id, "parent_id")
    sidebar_id = _free_id(ask, command.sidebar_id)
    if parent is not None and not parent.open:
        raise IllegalTransition(
            f"The sidebar {parent.sidebar_id} is {parent.status.value} and can have no more children;"
            " fork it, or spawn from main.",
            field="parent_id",
        )
    named = _together(ask.sender, command.coordinator, command.participants)
    matched = match(command.specialties, named, ask.willing(named), ask.sender)
    ask.require_welcome(named, "participants")
    members = _within_bounds(
        [*named, *(found.agent_id for found in matched if found.brought)],
        ask.settings.sidebar.max_participants,
    )
    priority = command.priority or (parent.priority if parent else SidebarPriority.NORMAL)
    depth = command.inherit.depth if command.inherit else None
    depth = ask.settings.context.inheritance_depth if depth is None else depth
    ranges = inherited_by_child(parent, start=ask.start, head=ask.head, depth=depth)
    born = command.model_copy(
        update={
            "sidebar_id": sidebar_id,
            "participants": members,
            "members": members,
            "priority": priority,
            "status": SidebarStatus.ACTIVE,
            "old_status": None,
            "by": ask.sender,
            "cause": ask.key,
            "inherited_context": ranges,
            "data_refs": list(parent.data_refs) if parent else [],
            "cross_refs": [parent.sidebar_id] if parent else [],
            "forked_from": None,
            "matched": [found.told() for found in matched] or None,
        }
    )
    events = [Outgoing(InContext(sidebar_id, "life"), Lane(priority.value), born)]
    if parent is not None:
        events.append(_child_of(ask, parent, born))
    told = _told(sidebar_id, members, ranges, ask)
    return Decision(tuple(events), told | ({"matched": born.matched} if matched else {}))


def child(ask: Ask, command: SidebarChildSpawn) -> Decision:
    """The same as spawning under that parent, said the other way round."""
    as_spawn = SidebarSpawn(
        message_id=command.message_id,
        timestamp=command.timestamp,
        sender_agent_id=command.sender_agent_id,
        trace_id=command.trace_id,
        causation_id=command.causation_id,
        parent_id=command.parent_sidebar_id,
        task_description=command.sub_task_description,
        sidebar_id=command.child_sidebar_id,
        participants=command.assigned_agents,
        priority=command.priority,
    )
    ask.require(Action.SPAWN, command.parent_sidebar_id, "parent_sidebar_id")
    return spawn(ask, as_spawn)


def fork(ask: Ask, command: SidebarFork) -> Decision:
    """A second life for a sidebar, with what its forker may read of it; under the same parent while that is
    open. Whoever forks what it is not in is seen to do so."""
    original = ask.require(Action.FORK, command.original_sidebar_id, "original_sidebar_id")
    sidebar_id = _free_id(ask, command.new_sidebar_id)
    members = _within_bounds(
        _together(ask.sender, None, forked_with(original, command)), ask.settings.sidebar.max_participants
    )
    ask.require_welcome(members, "participants")
    whole = ask.may(Action.READ, original)
    stays = None if whole else ask.stays
    ranges = inherited_by_fork(original, start=ask.start, head=ask.head, stays=stays)
    parent = ask.known.get(original.parent_id)
    parent = parent if parent and parent.open and ask.may(Action.SPAWN, parent) else None
    born = command.model_copy(
        update={
            "new_sidebar_id": sidebar_id,
            "participants": members,
            "members": members,
            "status": SidebarStatus.ACTIVE,
            "old_status": None,
            "by": ask.sender,
            "cause": ask.key,
            "parent_id": parent.sidebar_id if parent else MAIN,
            "task_description": original.task,
            "success_criteria": original.success_criteria,
            "priority": original.priority,
            "inherited_context": ranges,
            "data_refs": list(original.data_refs) if whole else [],
            "cross_refs": [original.sidebar_id],
        }
    )
    events = [Outgoing(InContext(sidebar_id, "life"), Lane(original.priority.value), born)]
    if parent is not None:
        events.append(_child_of(ask, parent, born))
    if not original.has(ask.sender):
        events.append(notice.forked(ask, original, sidebar_id))
    return Decision(
        tuple(events), _told(sidebar_id, members, ranges, ask) | {"forked_from": original.sidebar_id}
    )


def forked_with(original: Sidebar, command: SidebarFork) -> list[str]:
    """Whom a fork brings in beside its sender: everybody of the original, unless it says whom."""
    return list(original.members) if command.participants is None else command.participants


def _child_of(ask: Ask, parent: Sidebar, born: SidebarSpawn | SidebarFork) -> Outgoing:
    """What the parent's life keeps of its child's birth."""
    told = SidebarChildSpawn(
        message_id=ask.command.message_id,
        timestamp=ask.now,
        sender_agent_id=ask.sender,
        causation_id=str(ask.command.message_id),
        parent_sidebar_id=parent.sidebar_id,
        child_sidebar_id=born.sidebar_id if isinstance(born, SidebarSpawn) else born.new_sidebar_id,
        sub_task_description=born.task_description or "",
        assigned_agents=list(born.members or []),
        priority=born.priority,
        status=parent.status,
        members=list(parent.members),
        by=ask.sender,
        cause=ask.key,
    )
    return Outgoing(InContext(parent.sidebar_id, "life"), Lane(parent.priority.value), told)


def _free_id(ask: Ask, wanted: str | None) -> str:
    """The id of the new sidebar: the wanted one if it is free, and one like it if it is that of a sidebar
    which the sender may not look at. The result says which it is.

    Raises:
        Conflict: a sidebar has it that the sender may look at, or somebody else wants it at the same time.
    """
    sidebar_id = ask.new_id(wanted)
    taken = ask.known.get(sidebar_id)
    if taken is not None and not ask.raced and not ask.may(Action.LOOK, taken):
        sidebar_id = ask.another_id(sidebar_id)
        taken = ask.known.get(sidebar_id)
    if taken is not None or sidebar_id == MAIN:
        raise Conflict(f"The id {sidebar_id} is in use; choose another or leave it out.", field="sidebar_id")
    return sidebar_id


def _together(sender: str, coordinator: str | None, others: list[str]) -> list[str]:
    """Everyone once, the sender first, in the order named. The operator opens rooms for others."""
    itself = [] if sender in RESERVED_NAMES else [sender]
    named = [*itself, *([coordinator] if coordinator else []), *others]
    return list(dict.fromkeys(named))


def _within_bounds(members: list[str], largest: int) -> list[str]:
    if len(members) > largest:
        raise TooLarge(
            f"A sidebar holds {largest} participants at most; this would make {len(members)}.",
            field="participants",
        )
    return members


def _told(sidebar_id: str, members: list[str], ranges: list[ContextRange], ask: Ask) -> dict[str, Any]:
    others = [agent for agent in members if agent != ask.sender]
    told = f"{', '.join(others)} {'has' if len(others) == 1 else 'have'} been told." if others else ""
    return {
        "sidebar_id": sidebar_id,
        "participants": members,
        "sidebar_status": SidebarStatus.ACTIVE.value,
        "inherited_context": [found.model_dump(by_alias=True) for found in ranges],
        "collaboration_notes": f"The sidebar is ready. {told}".strip(),
        "created_at": rfc3339(ask.now),
    }
