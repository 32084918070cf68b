"""Answers why a message arrived, or did not: stored, decided, for whom, received, handled, set aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from backchannel.delivery.cursor import Cursor
from backchannel.domain.paging import Part
from backchannel.domain.stages import state_of, why
from backchannel.errors import NotFound
from backchannel.jetstream.read import StreamFacts
from backchannel.protocol.identifier import Identifier
from backchannel.protocol.message import ShortText
from backchannel.service.context import Inquiry
from backchannel.service.critical import connected
from backchannel.service.declare import Service
from backchannel.service.finding import FAR, Copy, copies, message_key
from backchannel.service.inspection import as_command, came_later, may_ask, outcome_of, set_aside_of, told_of
from backchannel.service.params import Params, understood
from backchannel.service.standing import MOST, recipients_of, standings

service = Service("explain", about=__doc__)
MOST_SET_ASIDE = 50
"""Times that it was set aside of which one answer tells."""


class ExplainParams(Params):
    """Which message; ``cursor`` says where it lies, ``until`` from where to look back."""

    message_id: ShortText
    cursor: ShortText | None = None
    until: ShortText | None = None
    page: Identifier | None = None
    limit: int = Field(default=MOST, ge=1, le=MOST)


@service.answers("explain", searches=True)
async def explain(inquiry: Inquiry) -> Mapping[str, Any]:
    """All that is known of a message. For its sender, the sender's supervisor, and the operator.

    Not found and `next` given: it may lie farther back.
    """
    asked = understood(ExplainParams, inquiry.params)
    message_id = message_key(asked.message_id, "params.message_id")
    house, group = inquiry.house, inquiry.group
    facts = await house.log(group)
    until = Cursor.parse(asked.until, "params.until").sequence if asked.until else facts.last
    found = await copies(house, group, message_id, cursor=asked.cursor, until=until)
    own = [copy for copy in found if not copy.offered and await may_ask(inquiry, copy.sender)]
    command = await as_command(inquiry, message_id)
    dead = await set_aside_of(inquiry, message_id)
    sender = own[0].sender if own else command["sender"] if command else None
    outcome = await outcome_of(inquiry, sender, message_id, until)
    if not own and command is None and not dead and outcome is None:
        return _not_yet(inquiry, message_id, until, facts)
    sender = sender or (outcome["sender"] if outcome else None)
    part = await _recipients(inquiry, own, facts, asked) if own else Part([], None)
    return {
        "message_id": message_id,
        "sender": sender,
        "stored": [told_of(copy, facts.epoch) for copy in own],
        "command": command,
        "result": outcome,
        "recipients": part.rows,
        "page": part.next,
        "not_for": await came_later(inquiry, own) if own else [],
        "dead": dead[:MOST_SET_ASIDE],
        "next": None,
    }


def _not_yet(inquiry: Inquiry, message_id: str, until: int, facts: StreamFacts) -> Mapping[str, Any]:
    if until - FAR < facts.first:
        raise NotFound(
            f"{inquiry.caller} can be told nothing of a message {message_id}: the log does not hold it, or it"
            " is somebody else's. If it was never `accepted`, send it again with the same id.",
            field="params.message_id",
        )
    return {"message_id": message_id, "stored": [], "next": str(Cursor(facts.epoch, until - FAR))}


async def _recipients(
    inquiry: Inquiry, own: Sequence[Copy], facts: StreamFacts, asked: ExplainParams
) -> Part:
    here = frozenset(await connected(inquiry.house, inquiry.group))
    rows = await standings(inquiry.house, inquiry.group, own, facts.epoch)
    told = (
        {
            **row,
            "connected": row["agent_id"] in here,
            "state": state_of(row, connected=row["agent_id"] in here),
            "why": why(row, own[0].place.to),
        }
        for row in rows
    )
    return recipients_of(told, asked.page, asked.limit)
