"""Notes what agents say of the messages they got: done, failed, or later; and who takes what for whom."""

from __future__ import annotations

from backchannel.domain.decision import Decision
from backchannel.domain.handling import Claim, Stage, handled
from backchannel.errors import NotFound
from backchannel.protocol.attention import Handled
from backchannel.protocol.message import rfc3339
from backchannel.protocol.subject import claim_mark, stage_mark
from backchannel.service.context import Context
from backchannel.service.declare import Service
from backchannel.service.finding import Copy, copies, may_hear, message_key

service = Service("handled", about=__doc__)


@service.on(Handled)
async def handle(said: Handled, ctx: Context) -> Decision:
    """Keep what an agent says of a message that it got, and tell whom it concerns."""
    agent, message_id = ctx.asked.agent, message_key(said.handles, "handles")
    former = Stage.read(await ctx.marked(stage_mark(message_id, agent)) or {})
    taken = await ctx.marks(claim_mark(message_id, "*"))
    claims = [Claim.read(target, kept) for target, kept in taken.items()]
    copy = await _its_copy(said, message_id, ctx)
    word = said.model_copy(update={"handles": message_id})
    return handled(word, agent, rfc3339(ctx.now), copy.sender, former, claims)


async def _its_copy(said: Handled, message_id: str, ctx: Context) -> Copy:
    """The message as this agent got it. Raises NotFound in the same words if it is there and not for it."""
    group, agent = ctx.asked.group, ctx.asked.agent
    for cursor in dict.fromkeys((said.handles_cursor, None)):
        found = await copies(ctx.house, group, message_id, cursor=cursor, reader=agent)
        for copy in found:
            if await may_hear(ctx.house, group, agent, copy):
                return copy
    raise NotFound(
        f"{agent} got no message {message_id} lately; an older one is found with `handles_cursor`.",
        field="handles",
    )
