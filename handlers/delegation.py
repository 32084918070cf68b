"""Offers what is critical for an agent that is away to others who fit; the first of them takes it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from backchannel.domain.decision import Decision, Outgoing
from backchannel.domain.delegation import delegates, shared
from backchannel.domain.handling import Claim, claim_of
from backchannel.domain.matching import Candidate
from backchannel.protocol.identifier import MAIN, PLATFORM
from backchannel.protocol.lane import Lane
from backchannel.protocol.mention import MentionRoute
from backchannel.protocol.subject import InInbox, claim_mark
from backchannel.service.context import Context
from backchannel.service.declare import Service
from backchannel.service.happened import Happened
from backchannel.service.received import received_by

service = Service("delegation", about=__doc__)


@service.follows("bc.{group}.evt.inbox.*.critical.mention")
async def offer(happened: Happened, ctx: Context) -> Decision | None:
    """Ask others in place of an agent that is not connected and has not got it either."""
    mention, to = happened.event, happened.to
    if not isinstance(mention, MentionRoute) or not isinstance(to, InInbox) or mention.delegated_from:
        return None
    target, message_id = to.agent_id, str(mention.message_id)
    if await ctx.marked(claim_mark(message_id, target)) or await _is_here(target, happened, ctx):
        return None
    candidates = await ctx.candidates()
    fitting = partial(
        delegates,
        target,
        candidates,
        besides=frozenset({*mention.target_agents, mention.sender_agent_id or ""}),
        among=await _who_may_see(mention, ctx),
    )
    if not (asked := fitting()):
        return _told_only(mention, target, fitting(vouched=False), candidates)
    offers = [
        Outgoing(InInbox(name, "mention"), Lane.CRITICAL, _copy(mention, name, target), keeps_id=True)
        for name in asked
    ]
    return Decision(tuple(offers), marks=(claim_of(message_id, Claim(target, asked)),))


def _told_only(
    mention: MentionRoute, target: str, names: Sequence[str], candidates: Sequence[Candidate]
) -> Decision | None:
    """Nobody vouches for these: they learn that something waits, and not what it is, nor from whom."""
    known = {found.agent_id: found for found in candidates}
    notices = [
        Outgoing(
            InInbox(name, "notice"),
            Lane.NORMAL,
            MentionRoute(
                message_id=mention.message_id,
                timestamp=mention.timestamp,
                sender_agent_id=PLATFORM,
                target_agents=[name],
                message=f"An urgent mention waits for {target}, which is away. You say that you have"
                f" {shared(known[name], known[target])}, as it does, but nobody vouches for that: ask whoever"
                " runs the platform, or the human of one of you.",
            ),
        )
        for name in names
    ]
    return Decision(tuple(notices)) if notices else None


async def _is_here(target: str, happened: Happened, ctx: Context) -> bool:
    house, group = ctx.house, happened.group
    if await house.presence.entries(f"{group}.{target}.*"):
        return True
    facts = await house.log(group)
    received = await received_by(house, group, target, facts.epoch)
    return received.has(happened.sequence, str(happened.event.message_id))


async def _who_may_see(mention: MentionRoute, ctx: Context) -> frozenset[str] | None:
    """What belongs to a sidebar is offered to nobody outside of it."""
    if mention.sidebar_id in (None, MAIN):
        return None
    sidebar = await ctx.house.past(ctx.asked.group, str(mention.sidebar_id))
    return frozenset(sidebar.members) if sidebar is not None else frozenset()


def _copy(mention: MentionRoute, name: str, target: str) -> MentionRoute:
    return mention.model_copy(update={"target_agents": [name], "delegated_from": target})
