"""Admits what agents publish over NATS and needs no deciding: the same rules as at the bridge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backchannel.delivery.admission import admit, context_of, whereabouts
from backchannel.delivery.audience import Life, Membership
from backchannel.delivery.calls import called, text_of
from backchannel.delivery.loops import Finding, is_talk
from backchannel.jetstream.entry import Entry, Fence
from backchannel.jetstream.read import find_id
from backchannel.protocol.catalog import AnyMessage, write
from backchannel.protocol.claims import Claims
from backchannel.protocol.emergency import CriticalFailure, SecurityEmergency
from backchannel.protocol.identifier import MAIN
from backchannel.protocol.json_object import read_object
from backchannel.protocol.memory import MemoryUpdate
from backchannel.protocol.mention import MentionRoute
from backchannel.protocol.presence import AgentPresence
from backchannel.protocol.sidebar import SidebarMessage
from backchannel.protocol.subject import life_of
from backchannel.service.admit import Sender, entries_of
from backchannel.service.context import Context
from backchannel.service.declare import Service
from backchannel.service.hearing import Hearing
from backchannel.service.states import digest_of

service = Service("ingress", about=__doc__)


@service.on(MemoryUpdate, SidebarMessage, MentionRoute, AgentPresence, SecurityEmergency, CriticalFailure)
async def enter(message: AnyMessage, ctx: Context) -> Sequence[Entry]:
    """The message goes to the log under the id that it would have there by any other way."""
    agent, group = ctx.asked.agent, ctx.asked.group
    known, membership = await _skills(message, ctx), await _membership(message, ctx)
    whom = admit(
        agent,
        message,
        membership,
        known.__contains__,
        lambda specialty: sorted(name for name, skills in known.items() if specialty in skills),
    )
    # What its token allows was checked when it was taken in; here it stands for a name and a group alone.
    named: dict[str, Any] = {"sub": agent, "collaboration_group": group}
    sender, content = Sender(Claims.model_construct(**named)), read_object(write(message))
    hearing = ctx.house.hearings[group]
    if is_talk(message) or isinstance(message, AgentPresence):
        await hearing.reach()
    if isinstance(message, AgentPresence) and _repeats(content, hearing, ctx):
        return []
    settings = ctx.house.settings()
    # Where a human speaks, a new chain begins.
    found = Finding(0) if ctx.kind == "human" else hearing.rounds.find(agent, message, settings)
    at = whereabouts(agent, message, membership)
    entries = entries_of(sender, content, message, whom, found.hops, at)
    if found.reason is not None and not await _is_stored(entries[0], ctx):
        await ctx.house.quarantine.park(sender, message, entries, found, settings.loops.window)
    return entries


def _repeats(content: Mapping[str, Any], hearing: Hearing, ctx: Context) -> bool:
    """Whether the agent said the very same of itself a short time ago; nobody needs to hear it again."""
    state = digest_of(content)
    return (
        state is not None and hearing.states.repeated(ctx.asked.agent, state, ctx.now.timestamp()) is not None
    )


async def _is_stored(entry: Entry, ctx: Context) -> bool:
    """Whether it lies in the log already, and this is a repetition."""
    found = await find_id(ctx.house.connection, entry.subject, entry.message_id or "")
    return found is not None


async def _skills(message: AnyMessage, ctx: Context) -> Mapping[str, frozenset[str]]:
    """The agents of the group and their specialties, if the message calls anybody at all."""
    if not isinstance(message, MentionRoute) and not called(text_of(message)):
        return {}
    return {candidate.agent_id: candidate.specialties for candidate in await ctx.candidates()}


async def _membership(message: AnyMessage, ctx: Context) -> Membership:
    """Who is in the sidebar that the message is about, as the log has it now."""
    membership = Membership()
    context_id = message.current_context if isinstance(message, AgentPresence) else context_of(message)
    if context_id in (None, MAIN):
        return membership
    sidebar = await ctx.house.past(ctx.asked.group, str(context_id))
    changed = sidebar.sequence if sidebar is not None else 0
    # Whoever leaves, or ends it, before this is stored must be seen: the log is to refuse it then.
    ctx.fences.append(Fence(life_of(ctx.asked.group, str(context_id)), changed, firm=True))
    if sidebar is not None:
        life = Life(sidebar.status.value, frozenset(sidebar.members))
        membership.fold(sidebar.sequence, sidebar.sidebar_id, life)
    return membership
