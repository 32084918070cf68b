"""Every command a sidebar knows, and the rule that decides it."""

from __future__ import annotations

from dataclasses import replace

from backchannel.domain.decision import Decision
from backchannel.domain.sidebar import begin, change, ending
from backchannel.domain.sidebar.alarms import alarms
from backchannel.domain.sidebar.ask import Ask
from backchannel.domain.sidebar.wait import awaited, wait
from backchannel.protocol.identifier import MAIN
from backchannel.protocol.sidebar import (
    SidebarArchive,
    SidebarChildSpawn,
    SidebarCommand,
    SidebarFork,
    SidebarInvite,
    SidebarJoin,
    SidebarLeave,
    SidebarMerge,
    SidebarPause,
    SidebarResume,
    SidebarSpawn,
    SidebarStatusUpdate,
    SidebarTestResult,
    SidebarWaitingUpdate,
)
from backchannel.protocol.sidebar_status import SidebarStatus


def decide(ask: Ask) -> Decision:
    """What follows from a command.

    Raises:
        Refused: a rule says no; the error's code and sentence are for the sender.
        Conflict: an id is in use.
    """
    if _applied(ask):
        return Decision(repeated=True)
    decision = _decided(ask)
    return replace(decision, timers=alarms(decision.events, ask.now, ask.settings))


def _decided(ask: Ask) -> Decision:
    match ask.command:
        case SidebarSpawn() as command:
            return begin.spawn(ask, command)
        case SidebarChildSpawn() as command:
            return begin.child(ask, command)
        case SidebarFork() as command:
            return begin.fork(ask, command)
        case SidebarInvite() as command:
            return change.invite(ask, command)
        case SidebarJoin() as command:
            return change.join(ask, command)
        case SidebarLeave() as command:
            return change.leave(ask, command)
        case SidebarPause() as command:
            return change.pause(ask, command)
        case SidebarResume() as command:
            return change.resume(ask, command)
        case SidebarWaitingUpdate() as command:
            return wait(ask, command)
        case SidebarTestResult() as command:
            return change.record_test(ask, command)
        case SidebarStatusUpdate(new_status=SidebarStatus.FAILED) as command:
            return ending.fail(ask, command)
        case SidebarStatusUpdate() as command:
            return change.update_status(ask, command)
        case SidebarMerge() as command:
            return ending.merge(ask, command)
        case SidebarArchive() as command:
            return ending.archive(ask, command)


def touched(command: SidebarCommand, new_id: str) -> tuple[str, ...]:
    """The sidebars whose state must be known to decide this command, besides parents and open children."""
    named: tuple[str, ...]
    match command:
        case SidebarSpawn(parent_id=parent):
            named = (parent, new_id)
        case SidebarChildSpawn(parent_sidebar_id=parent):
            named = (parent, new_id)
        case SidebarFork(original_sidebar_id=original):
            named = (original, new_id)
        case SidebarWaitingUpdate(sidebar_id=waiting):
            named = (waiting, *awaited(command))
        case _:
            named = (command.sidebar_id,)
    return tuple(found for found in named if found != MAIN)


def named_agents(command: SidebarCommand) -> tuple[str, ...]:
    """The agents a command names; each must exist in the group."""
    match command:
        case SidebarSpawn(participants=agents, coordinator=coordinator):
            return (*agents, *([coordinator] if coordinator else []))
        case SidebarChildSpawn(assigned_agents=agents) | SidebarInvite(agents=agents):
            return tuple(agents)
        case SidebarFork(participants=agents):
            return tuple(agents or ())
    return ()


def _applied(ask: Ask) -> bool:
    return any(sidebar is not None and ask.key in sidebar.applied for sidebar in ask.known.values())
