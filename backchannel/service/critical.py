"""Critical updates in the log: which there are for an agent, who is connected, and what was said of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic_core import from_json

from backchannel.domain.curator import Update
from backchannel.domain.handling import Claim
from backchannel.errors import BackchannelError
from backchannel.jetstream.read import Record, page
from backchannel.protocol.identifier import MAIN
from backchannel.protocol.lane import Lane
from backchannel.protocol.subject import InContext, claim_mark, events_stream, locate, stage_mark
from backchannel.service.context import Context
from backchannel.service.finding import membership_at
from backchannel.service.house import House
from backchannel.service.lives import event_of

MENTIONS = "bc.{group}.evt.inbox.*.critical.mention"
MEMORIES = "bc.{group}.evt.ctx.*.critical.memory"
BROADCASTS = tuple(
    f"bc.{{group}}.evt.all.{lane.value}.broadcast"
    for lane in (Lane.SECURITY_EMERGENCY, Lane.CRITICAL_FAILURE)
)
PATTERNS = (MENTIONS, MEMORIES, *BROADCASTS)
"""What counts as a critical update: an urgent mention, a critical memory update, a broadcast emergency."""

AT_ONCE = 500
MOST = 1000
"""Critical updates that are looked at for one agent at a time; the oldest."""


async def critical_for(
    house: House, group: str, agent: str, after: int, until: int, since: int | None
) -> list[Update]:
    """The critical updates for an agent behind a position, oldest first.

    Args:
        since: when it first came. What everybody was told before that, or is told while it never came, is
            not for it.
    """
    mentions = await _all(house, group, f"bc.{group}.evt.inbox.{agent}.critical.mention", after, until)
    found = [update for record in mentions if (update := _update(record)) is not None]
    for filter in (MEMORIES, *BROADCASTS):
        for record in await _all(house, group, filter.format(group=group), after, until):
            update = _update(record)
            if update is not None and await _is_for(house, group, agent, update, since):
                found.append(update)
    return sorted(found, key=lambda update: update.sequence)[:MOST]


async def _is_for(house: House, group: str, agent: str, update: Update, since: int | None) -> bool:
    if update.context_id in (None, MAIN):
        return since is not None and update.sequence > since
    known = await membership_at(house, group, str(update.context_id), update.sequence)
    return known.sees(agent, InContext(str(update.context_id), "memory"), update.sequence)


async def _all(house: House, group: str, filter: str, after: int, until: int) -> list[Record]:
    found: list[Record] = []
    done = False
    while not done and len(found) < MOST:
        part = await page(
            house.connection, events_stream(group), after, limit=AT_ONCE, filter=filter, until=until
        )
        found += part.records
        after, done = part.last_sequence_scanned, part.done
    return found[:MOST]


def _update(record: Record) -> Update | None:
    place = locate(record.subject)
    try:
        event = event_of(record)
    except BackchannelError:
        return None
    if place is None:
        return None
    context = place.to.context_id if isinstance(place.to, InContext) else getattr(event, "sidebar_id", None)
    return Update(
        str(event.message_id),
        event.type,
        event.sender_agent_id,
        record.sequence,
        datetime.fromisoformat(record.time),
        context,
    )


async def answered(ctx: Context, agent: str, updates: Sequence[Update | str]) -> frozenset[str]:
    """The ids of those about which the agent has said something, or which somebody else has taken."""
    names = [update if isinstance(update, str) else update.message_id for update in updates]
    said = {name for name in names if await ctx.marked(stage_mark(name, agent))}
    for name in names:
        if name not in said:
            claims = (Claim.read(*one) for one in (await ctx.marks(claim_mark(name, "*"))).items())
            if any(claim.taken_from(agent) for claim in claims):
                said.add(name)
    return frozenset(said)


async def connected(house: House, group: str) -> list[str]:
    """The agents with a connection that speaks for them now, by name."""
    leases = await house.presence.entries(f"{group}.*.*")
    return sorted({key.split(".")[1] for key, value in leases if _is_active(value.payload)})


def _is_active(payload: bytes) -> bool:
    try:
        told = from_json(payload)
    except ValueError:
        return False
    return isinstance(told, dict) and told.get("permission", "active") == "active"
