"""Tells the collaborators of an agent, once, when its last connection has gone and it has not come back."""

from __future__ import annotations

from datetime import datetime, timedelta

from backchannel.domain.decision import Decision, Mark, Outgoing, Timer
from backchannel.domain.offline import (
    CHECKED,
    GONE,
    MOST_TOLD,
    SERVICE,
    collaborators,
    is_news,
    look,
)
from backchannel.domain.settings import Settings
from backchannel.protocol.identifier import PLATFORM
from backchannel.protocol.lane import Lane
from backchannel.protocol.presence import AgentOffline
from backchannel.protocol.subject import InInbox, ToEveryone
from backchannel.service.context import Context
from backchannel.service.declare import Service
from backchannel.service.due import Due
from backchannel.service.shelf import Search
from backchannel.service.watcher import Change

service = Service(SERVICE, about=__doc__)
REMEMBERED = 86_400
"""Seconds for which it is known that a departure was told; it can come up again for minutes only."""


@service.watches("BC_presence")
def seen(change: Change, settings: Settings) -> Timer | None:
    """A lease that went is looked into after the grace, one that is new from time to time."""
    agent = change.key.split(".")[1]
    if change.lapsed:
        return look(agent, change.at, change.at + timedelta(seconds=settings.presence.offline_grace))
    return look(agent, change.at, change.at + CHECKED)


@service.due(GONE)
async def gone(due: Due, ctx: Context) -> Decision:
    """See whether the agent has come back, or somebody has told of it already."""
    agent, as_of = due.key, datetime.fromisoformat(str(due.about["as_of"]))
    again = look(agent, ctx.now, ctx.now + CHECKED)
    if await ctx.runs(SERVICE, GONE, agent):
        return Decision()  # a newer look will follow
    mark = await ctx.in_order(f"offline-{agent}")
    if await ctx.house.is_connected(due.group, agent):
        return Decision(timers=(again,))
    if not is_news(as_of, datetime.fromisoformat(mark.time) if mark else None):
        return Decision()
    told = await _told(agent, due, ctx)
    return Decision(told, marks=(Mark(f"offline-{agent}", kept=REMEMBERED),))


async def _told(agent: str, due: Due, ctx: Context) -> tuple[Outgoing, ...]:
    lives = ctx.house.lives[due.group]
    await lives.reach()
    sidebars = lives.shelf.find(Search(agent=agent), after=None, limit=len(lives.shelf)).sidebars
    others = collaborators(agent, sidebars)
    event = AgentOffline(
        message_id=due.message_id,
        timestamp=ctx.now,
        sender_agent_id=PLATFORM,
        agent_id=agent,
        reason="It has no connection any more, and did not come back in time.",
    )
    if len(others) > MOST_TOLD:
        return (Outgoing(ToEveryone("presence"), Lane.HIGH, event),)
    return tuple(Outgoing(InInbox(other, "notice"), Lane.HIGH, event) for other in others)
