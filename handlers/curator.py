"""Sees to it that critical updates are received: asks the agent, then tells whoever looks after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from pydantic_core import from_json

from backchannel.delivery.cursor import Cursor
from backchannel.domain.curator import (
    ACK,
    CURATOR,
    ESCALATE,
    REST,
    look,
    question,
    report,
    still_open,
    to_tell,
)
from backchannel.domain.decision import Decision, Mark, Outgoing, Timer
from backchannel.domain.handling import KEPT
from backchannel.protocol.identifier import MAIN
from backchannel.protocol.lane import Lane
from backchannel.protocol.message import rfc3339
from backchannel.protocol.presence import CuratorCheckin
from backchannel.protocol.subject import InContext, InInbox, stage_mark, watch_mark
from backchannel.service.context import Context
from backchannel.service.critical import PATTERNS, answered, connected, critical_for
from backchannel.service.declare import Service
from backchannel.service.due import Due
from backchannel.service.happened import Happened
from backchannel.service.received import received_by

log = structlog.get_logger()
service = Service(CURATOR, about=__doc__)
AT_ONCE = 256
"""Agents for whom timers are started in one step. Those after them by name have the next one."""


@service.follows(*PATTERNS)
async def watch(happened: Happened, ctx: Context) -> Decision | None:
    """Look again in a while at everybody whom a critical update is for, unless that is planned already."""
    at = happened.stored + timedelta(seconds=ctx.house.settings().curator.ack_timeout)
    about = {"sequence": happened.sequence, "at": rfc3339(at), "sender": happened.event.sender_agent_id}
    match happened.to:
        case InInbox(agent):
            agents = [agent]
        case InContext(context_id):
            about["context_id"] = context_id
            agents = await _recipients(happened.group, context_id, ctx)
        case _:
            agents = await _recipients(happened.group, MAIN, ctx)
    timers = await _timers(agents, about, str(happened.message_id), ctx)
    return Decision(timers=timers) if timers else None


@service.due(REST)
async def watch_the_rest(due: Due, ctx: Context) -> Decision:
    """The same for those who come after the last one of the step before."""
    agents = await _recipients(due.group, str(due.about.get("context_id") or MAIN), ctx)
    await ctx.runs(CURATOR, REST, due.key)
    rest = [agent for agent in agents if agent > str(due.about["after"])]
    return Decision(timers=await _timers(rest, due.about, due.key, ctx))


async def _timers(
    agents: Sequence[str], about: Mapping[str, Any], key: str, ctx: Context
) -> tuple[Timer, ...]:
    """A timer for each of the first so many, and one at once for the others."""
    timers, at = [], datetime.fromisoformat(str(about["at"]))
    for agent in agents[:AT_ONCE]:
        if agent == about["sender"]:
            continue
        asked_for = int(((await ctx.marked(watch_mark(agent))) or {}).get("through") or 0)
        if asked_for < int(about["sequence"]) and not await ctx.runs(CURATOR, ACK, agent):
            timers.append(Timer(CURATOR, ACK, agent, max(at, ctx.now)))
    if len(agents) > AT_ONCE:
        timers.append(Timer(CURATOR, REST, key, ctx.now, {**about, "after": agents[AT_ONCE - 1]}))
    return tuple(timers)


async def _recipients(group: str, context_id: str, ctx: Context) -> list[str]:
    """Who is in the sidebar; of what is for everybody, whoever is connected now. By name."""
    if context_id == MAIN:
        return await connected(ctx.house, group)
    sidebar = await ctx.house.past(group, context_id)
    return sorted(sidebar.members) if sidebar is not None else []


@service.due(ACK)
async def check(due: Due, ctx: Context) -> Decision:
    """Ask an agent for everything critical that it has not acknowledged in time; once for each."""
    agent, timeout = due.key, ctx.house.settings().curator.ack_timeout
    asked_for = int(((await ctx.marked(watch_mark(agent))) or {}).get("through") or 0)
    facts = await ctx.house.log(due.group)
    received = await received_by(ctx.house, due.group, agent, facts.epoch)
    start = max(asked_for, received.position)
    updates = await critical_for(ctx.house, due.group, agent, start, facts.last, received.since)
    unanswered = still_open(updates, agent, received, await answered(ctx, agent, updates))
    found = look(unanswered, ctx.now, timeout)
    timers = [] if found.at is None else [Timer(CURATOR, ACK, agent, found.at)]
    await ctx.runs(CURATOR, ACK, agent)
    if not found.late:
        return Decision(timers=tuple(timers))
    missing = [update.told(str(Cursor(facts.epoch, update.sequence))) for update in found.late]
    checkin = _checkin(due, ctx, question(len(missing)), missing)
    about = {"agent": agent, "missing": missing}
    again = Timer(CURATOR, ESCALATE, str(due.message_id), ctx.now + timedelta(seconds=timeout), about)
    asked = Mark(watch_mark(agent), {"through": found.late[-1].sequence})
    word = Outgoing(InInbox(agent, "notice"), Lane.CRITICAL, checkin, keeps_id=True)
    return Decision((word,), timers=(again, *timers), marks=(asked,))


@service.due(ESCALATE)
async def escalate(due: Due, ctx: Context) -> Decision:
    """Nobody answered a check-in: tell the agent's supervisor, and the coordinators of what it is about."""
    agent, checkin = str(due.about["agent"]), due.key
    if await ctx.marked(stage_mark(checkin, agent)):
        return Decision(repeated=True)
    missing = await _still_missing(due, agent, ctx)
    if not missing:
        return Decision()
    people = to_tell(missing, agent, await _supervisor(agent, ctx), await _coordinators(missing, ctx))
    if not people:
        log.warning("nobody_to_tell", group=due.group, agent=agent, updates=len(missing))
    told = tuple(
        Outgoing(
            InInbox(name, "notice"), Lane.CRITICAL, _checkin(due, ctx, report(agent, len(part)), part, agent)
        )
        for name, part in people.items()
    )
    done = Mark(stage_mark(checkin, agent), {"status": "failed", "detail": "nobody answered"}, KEPT)
    return Decision(told, marks=(done,))


async def _still_missing(due: Due, agent: str, ctx: Context) -> list[Mapping[str, Any]]:
    """What the check-in named and is neither received nor answered; naming the check-in answers for all."""
    facts = await ctx.house.log(due.group)
    received = await received_by(ctx.house, due.group, agent, facts.epoch)
    if due.key in received.named:
        return []
    named = [dict(one) for one in due.about["missing"]]
    said = await answered(ctx, agent, [str(one["message_id"]) for one in named])
    return [
        one
        for one in named
        if one["message_id"] not in said
        and not received.has(Cursor.parse(one["cursor"]).sequence, one["message_id"])
    ]


async def _supervisor(agent: str, ctx: Context) -> str | None:
    found = await ctx.house.agents.get(f"{ctx.asked.group}.{agent}")
    told = from_json(found.payload).get("human_supervisor") if found is not None else None
    return told if isinstance(told, str) else None


async def _coordinators(missing: Sequence[Mapping[str, Any]], ctx: Context) -> dict[str, str | None]:
    contexts = {str(one["context_id"]) for one in missing if one.get("context_id") not in (None, MAIN)}
    sidebars = {name: await ctx.house.past(ctx.asked.group, name) for name in sorted(contexts)}
    return {name: sidebar.coordinator if sidebar else None for name, sidebar in sidebars.items()}


def _checkin(
    due: Due, ctx: Context, message: str, missing: Sequence[Mapping[str, Any]], agent: str | None = None
) -> CuratorCheckin:
    about = {"agent_id": agent} if agent is not None else {}
    return CuratorCheckin(
        message_id=due.message_id,
        timestamp=ctx.now,
        sender_agent_id=ctx.asked.agent,
        message=message,
        missing_updates=[dict(one) for one in missing],
        **about,
    )
