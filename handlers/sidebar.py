"""Owns the life of every sidebar."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from backchannel.domain.decision import Decision
from backchannel.domain.matching import Candidate
from backchannel.domain.sidebar import Ask, Sidebar, decide
from backchannel.domain.sidebar.decide import named_agents, touched
from backchannel.errors import UnknownAgent
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
from backchannel.service.context import Context
from backchannel.service.declare import Service
from backchannel.service.exchanges import few_exchanges

service = Service("sidebar", about=__doc__)


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
    if strangers := await ctx.strangers(named_agents(command)):
        raise UnknownAgent(
            f"There is no agent {', '.join(strangers)} in the group {ctx.asked.group}."
            " An agent is known from its first token or connection."
        )
    start, head = await ctx.log()
    asker = await ctx.asker()
    ask = Ask(asker.name, command, ctx.now, {}, start, head, asker.access, asker.kind, asker.charges)
    ask = replace(ask, known=await _known(ask, ctx), candidates=await _candidates(command, ctx))
    return await _with_exchanges(decide(ask), command, ctx)


async def _known(ask: Ask, ctx: Context) -> dict[str, Sidebar | None]:
    """Every sidebar that has a say in the decision, as the log has it."""
    named = touched(ask.command, _new_id(ask))
    known = {sidebar_id: await ctx.past(sidebar_id) for sidebar_id in named}
    await _add_relatives(known, ask.command, ctx)
    return known


async def _candidates(command: SidebarCommand, ctx: Context) -> tuple[Candidate, ...]:
    """Nobody is looked for unless a specialty is asked for."""
    match command:
        case SidebarSpawn(specialties=[_, *_]):
            return await ctx.candidates()
    return ()


async def _add_relatives(known: dict[str, Sidebar | None], command: SidebarCommand, ctx: Context) -> None:
    """Parents hear of what ends or is forked; open children may end with what is merged."""
    if not isinstance(command, SidebarMerge | SidebarArchive | SidebarStatusUpdate | SidebarFork):
        return
    wanted = [found.parent_id for found in known.values() if found and found.parent_id != MAIN]
    if isinstance(command, SidebarMerge) and command.open_children != "refuse":
        wanted += [child for found in known.values() if found for child in found.open_children]
    while wanted:
        sidebar_id = wanted.pop()
        if sidebar_id in known:
            continue
        known[sidebar_id] = found = await ctx.past(sidebar_id)
        if found and isinstance(command, SidebarMerge) and found.parent_id in known:
            wanted += found.open_children


def _new_id(ask: Ask) -> str:
    match ask.command:
        case SidebarSpawn(sidebar_id=wanted) | SidebarFork(new_sidebar_id=wanted):
            return ask.new_id(wanted)
        case SidebarChildSpawn(child_sidebar_id=wanted):
            return ask.new_id(wanted)
    return ""


async def _with_exchanges(decision: Decision, command: SidebarCommand, ctx: Context) -> Decision:
    """While the inherited context is small, the answer to whoever opened the sidebar carries it whole."""
    ranges: list[dict[str, Any]] = decision.result.get("inherited_context", [])
    if not ranges:
        return decision
    exchanges = await few_exchanges(ctx.house, ctx.asked.group, ranges)
    if exchanges is None:
        return decision
    return replace(decision, result={**decision.result, "exchanges": exchanges})
