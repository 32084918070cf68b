"""Owns the life of every sidebar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from backchannel.delivery.cursor import Cursor
from backchannel.domain.decision import Decision
from backchannel.domain.invitation import Welcome
from backchannel.domain.matching import Candidate
from backchannel.domain.rights import Action
from backchannel.domain.sidebar import Ask, Brought, brings, decide
from backchannel.domain.sidebar.alarms import ESTIMATE, SIDEBAR
from backchannel.domain.sidebar.begin import forked_with
from backchannel.domain.sidebar.decide import named_agents
from backchannel.domain.sidebar.wait import overdue
from backchannel.errors import UnknownAgent
from backchannel.protocol.message import one_form
from backchannel.protocol.sidebar import (
    ContextRange,
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
from backchannel.service.context import Context
from backchannel.service.declare import Service
from backchannel.service.due import Due
from backchannel.service.exchanges import brought, few_exchanges
from backchannel.service.finding import membership_at
from backchannel.service.kin import kin, raced

service = Service(SIDEBAR, about=__doc__)


@service.on(
    SidebarSpawn,
    SidebarChildSpawn,
    SidebarFork,
    SidebarInvite,
    SidebarJoin,
    SidebarLeave,
    SidebarPause,
    SidebarResume,
    SidebarWaitingUpdate,
    SidebarTestResult,
    SidebarStatusUpdate,
    SidebarMerge,
    SidebarArchive,
)
async def change(command: SidebarCommand, ctx: Context) -> Decision:
    entries = await ctx.entries(named_agents(command))
    if strangers := [agent for agent, entry in entries.items() if entry is None]:
        raise UnknownAgent(
            f"There is no agent {', '.join(strangers)} in the group {ctx.asked.group}."
            " An agent is known from its first token or connection."
        )
    start, head = await ctx.log()
    asker = await ctx.asker()
    ask = Ask(asker.name, command, ctx.now, {}, start, head, asker.access, asker.kind, asker.charges)
    ask = replace(ask, settings=ctx.house.settings())
    ask = replace(ask, known=await kin(ask, ctx), candidates=await _candidates(command, ctx))
    ask = replace(ask, brought=await _brought(ask, ctx), stays=await _stays(ask, ctx))
    ask = replace(ask, welcomes=await _welcomes(ask, entries, ctx), raced=await raced(ask, ctx))
    return await _with_exchanges(decide(ask), command, ctx)


@service.due(ESTIMATE)
async def estimate_passed(due: Due, ctx: Context) -> Decision:
    """The participants are told, if the sidebar still waits for the same thing."""
    sidebar = await ctx.past(due.key)
    return overdue(sidebar, str(due.about.get("cause")), due.message_id, ctx.now)


async def _candidates(command: SidebarCommand, ctx: Context) -> tuple[Candidate, ...]:
    """Nobody is looked for unless a specialty is asked for."""
    match command:
        case SidebarSpawn(specialties=[_, *_]):
            return await ctx.candidates()
    return ()


async def _welcomes(
    ask: Ask, entries: Mapping[str, Mapping[str, Any] | None], ctx: Context
) -> Mapping[str, Welcome]:
    """How those take it whom a command would bring in: by name, by default, or for what they can do."""
    match ask.command:
        case SidebarFork() as command if (original := ask.known.get(command.original_sidebar_id)) is not None:
            entries = await ctx.entries(forked_with(original, command))
        case SidebarSpawn(specialties=[_, *_] as wanted):
            fit = [found.agent_id for found in ask.candidates if found.vouched.intersection(wanted)]
            entries = {**entries, **await ctx.entries(fit)}
    others = {agent: entry for agent, entry in entries.items() if entry is not None and agent != ask.sender}
    return await ctx.welcomes(others, ask.asker) if others else {}


async def _stays(ask: Ask, ctx: Context) -> tuple[ContextRange, ...]:
    """Where its sender was in what it forks, if it may read no more than that."""
    command = ask.command
    original = ask.known.get(command.original_sidebar_id) if isinstance(command, SidebarFork) else None
    if original is None or not ask.may(Action.FORK, original) or ask.may(Action.READ, original):
        return ()
    head = Cursor.parse(ask.head)
    name = original.sidebar_id
    known = await membership_at(ctx.house, ctx.asked.group, name, max(head.sequence, original.sequence))
    return known.stays(ask.sender, name, head.epoch)


async def _brought(ask: Ask, ctx: Context) -> Brought:
    """What of its content a sidebar that is merged leaves to its parent."""
    contexts, command = brings(ask), ask.command
    if not contexts or not isinstance(command, SidebarMerge):
        return Brought()
    named = frozenset(map(one_form, (one for one in command.exchanges_to_merge if isinstance(one, str))))
    budget = ctx.house.settings().context.inheritance_budget
    until = Cursor.parse(ask.head)
    return await brought(ctx.house, ctx.asked.group, contexts, named, until=until, budget=budget)


async def _with_exchanges(decision: Decision, command: SidebarCommand, ctx: Context) -> Decision:
    """While the inherited context is small, the answer to whoever opened the sidebar carries it whole."""
    ranges: list[dict[str, Any]] = decision.result.get("inherited_context", [])
    if not ranges:
        return decision
    budget = ctx.house.settings().context.inheritance_budget
    exchanges = await few_exchanges(ctx.house, ctx.asked.group, ranges, budget)
    if exchanges is None:
        return decision
    return replace(decision, result={**decision.result, "exchanges": exchanges})
