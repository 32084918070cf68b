"""Cleans up sidebars in which nothing happens any more: a warning, then a pause, then the archive."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from backchannel.domain.decision import Decision, Outgoing
from backchannel.domain.idle import Archive, Look, Pause, Rest, Warn, next_step
from backchannel.domain.sidebar import Ask, Sidebar, decide
from backchannel.domain.sidebar.alarms import IDLE, SILENCE, silence
from backchannel.protocol.identifier import PLATFORM
from backchannel.protocol.lane import Lane
from backchannel.protocol.message import rfc3339
from backchannel.protocol.sidebar import SidebarArchive, SidebarCleanupWarning, SidebarCommand, SidebarPause
from backchannel.protocol.sidebar_status import SidebarStatus
from backchannel.protocol.subject import InContext
from backchannel.service.context import Context
from backchannel.service.declare import Service
from backchannel.service.due import Due
from backchannel.service.kin import kin

service = Service(IDLE, about=__doc__)


@service.due(SILENCE)
async def look(due: Due, ctx: Context) -> Decision:
    """See how long nobody has done anything in a sidebar."""
    policy = ctx.house.settings().cleanup
    sidebar, activity = await ctx.silence(due.key)
    step = next_step(sidebar, activity, policy, ctx.now)
    if sidebar is None or isinstance(step, Rest) or f"{PLATFORM}:{due.message_id}" in sidebar.applied:
        return Decision()
    match step:
        case Look(at=at):
            return Decision(timers=(silence(due.key, at),))
        case Warn(next_status=status, at=at):
            return Decision(
                (_warning(sidebar, activity.moment, status, at, due, ctx),), timers=(silence(due.key, at),)
            )
        case Pause(archive_at=at):
            paused = await _decided(_pause(due, ctx), ctx)
            still = replace(sidebar, status=SidebarStatus.PAUSED)
            warning = _warning(still, activity.moment, SidebarStatus.ARCHIVED, at, due, ctx)
            timers = (*paused.timers, silence(due.key, at))
            return replace(paused, events=(*paused.events, warning), timers=timers)
        case Archive():
            return await _decided(_archive(due, ctx), ctx)


async def _decided(command: SidebarCommand, ctx: Context) -> Decision:
    """What the rules of sidebars make of it, as of any command."""
    start, head = await ctx.log()
    ask = Ask(PLATFORM, command, ctx.now, {}, start, head, settings=ctx.house.settings())
    return decide(replace(ask, known=await kin(ask, ctx)))


def _pause(due: Due, ctx: Context) -> SidebarPause:
    return SidebarPause(
        message_id=due.message_id,
        timestamp=ctx.now,
        sender_agent_id=PLATFORM,
        sidebar_id=due.key,
        reason="Nobody has done anything here for a long time.",
        resume_condition="A participant resumes it.",
    )


def _archive(due: Due, ctx: Context) -> SidebarArchive:
    return SidebarArchive(
        message_id=due.message_id,
        timestamp=ctx.now,
        sender_agent_id=PLATFORM,
        sidebar_id=due.key,
        archive_reason="Nobody has done anything here for a long time, and nobody objected.",
    )


def _warning(
    sidebar: Sidebar, since: datetime, next_: SidebarStatus, at: datetime, due: Due, ctx: Context
) -> Outgoing:
    event = SidebarCleanupWarning(
        message_id=due.message_id,
        timestamp=ctx.now,
        sender_agent_id=PLATFORM,
        sidebar_id=sidebar.sidebar_id,
        next_status=next_,
        at=rfc3339(at),
        message=f"Nobody has done anything here since {rfc3339(since)}."
        f" Say something, or it will be {next_.value}.",
        status=sidebar.status,
        members=list(sidebar.members),
        by=PLATFORM,
        cause=f"{PLATFORM}:{due.message_id}",
    )
    return Outgoing(InContext(sidebar.sidebar_id, "life"), Lane(sidebar.priority.value), event)
