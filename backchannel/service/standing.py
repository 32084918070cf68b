"""Where a message stands with each of its recipients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from backchannel.delivery.cursor import Cursor
from backchannel.domain.curator import Received
from backchannel.domain.handling import Claim, Stage
from backchannel.domain.paging import Part, page_of
from backchannel.jetstream.read import following
from backchannel.protocol.identifier import MAIN
from backchannel.protocol.json_object import read_object
from backchannel.protocol.message import one_form
from backchannel.protocol.subject import (
    InContext,
    InInbox,
    claim_mark,
    events_stream,
    order_subject,
    stage_mark,
)
from backchannel.service.finding import Copy, membership_at, offered_to
from backchannel.service.house import House
from backchannel.service.received import received

MOST = 500
"""Recipients that one answer tells of."""
MOST_MARKS = 4096


async def standings(house: House, group: str, found: Sequence[Copy], epoch: str) -> list[dict[str, Any]]:
    """One row for each recipient, by name; ``found`` are the events of one message."""
    message_id = one_form(str(found[0].content["message_id"]))
    recipients = await _recipients(house, group, found)
    stages = {
        name: Stage.read(kept) for name, kept in (await _marks(house, group, stage_mark(message_id, "*")))
    }
    claims = [
        Claim.read(name, kept) for name, kept in await _marks(house, group, claim_mark(message_id, "*"))
    ]
    for name in {name for claim in claims for name in claim.delegates} - recipients.keys():
        offer = await offered_to(house, group, name, message_id, found[0].sequence)
        recipients |= {name: offer.sequence} if offer is not None else {}
    only = next(iter(recipients)) if len(recipients) == 1 else "*"
    acknowledged = await received(house, group, epoch, only)
    return [
        _row(name, at, message_id, acknowledged.get(name, Received()), stages.get(name), claims, epoch)
        for name, at in sorted(recipients.items())
    ]


def recipients_of(rows: Iterable[dict[str, Any]], page: str | None, limit: int = MOST) -> Part:
    """Those rows that one answer tells of: behind the name `page`, as many as fit."""
    rest = (row for row in rows if row["agent_id"] > (page or ""))
    return page_of(rest, lambda row: str(row["agent_id"]), lambda row: row, limit)


def _row(
    name: str,
    at: int,
    message_id: str,
    got: Received,
    stage: Stage | None,
    claims: Sequence[Claim],
    epoch: str,
) -> dict[str, Any]:
    said = {"status": stage.status, "detail": stage.detail, "at": stage.at} if stage is not None else None
    offered = next((claim.target for claim in claims if name in claim.delegates), None)
    return {
        "agent_id": name,
        "stored": str(Cursor(epoch, at)),
        "received": got.has(at, message_id),
        "acknowledged": {
            purpose: str(Cursor(epoch, place)) for purpose, place in sorted(got.positions.items())
        },
        "handled": said,
        "in_place_of": offered,
        "taken_by": next((claim.by for claim in claims if claim.concerns(name)), None),
    }


async def _recipients(house: House, group: str, found: Sequence[Copy]) -> dict[str, int]:
    """Who each event was for, and where it lies. What is for everybody is for all the directory knows."""
    recipients: dict[str, int] = {}
    for copy in found:
        for name in await _audience(house, group, copy):
            if name != copy.sender:
                recipients.setdefault(name, copy.sequence)
    return recipients


async def _audience(house: House, group: str, copy: Copy) -> list[str]:
    match copy.place.to:
        case InInbox(owner):
            return [owner]
        case InContext(context_id) if context_id != MAIN:
            known = await membership_at(house, group, context_id, copy.sequence)
            return sorted(known.members(context_id))
    return sorted(key.split(".")[1] for key, _ in await house.agents.entries(f"{group}.*"))


async def _marks(house: House, group: str, what: str) -> list[tuple[str, dict[str, Any]]]:
    stream, subject = events_stream(group), order_subject(group, what)
    found = await following(house.connection, stream, subject, 0, MOST_MARKS)
    return [(record.subject.rpartition(".")[2], read_object(record.payload)) for record in found]
