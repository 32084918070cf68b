"""Answers where a message stands: stored, received by whom, handled by whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from backchannel.delivery.cursor import Cursor
from backchannel.errors import NotFound
from backchannel.jetstream.read import StreamFacts
from backchannel.protocol.identifier import Identifier
from backchannel.protocol.message import ShortText
from backchannel.service.context import Inquiry
from backchannel.service.declare import Service
from backchannel.service.finding import FAR, copies, message_key
from backchannel.service.inspection import may_ask
from backchannel.service.params import Params, understood
from backchannel.service.standing import MOST, recipients_of, standings

service = Service("delivery", about=__doc__)


class DeliveryParams(Params):
    """Which message; ``cursor`` says where it lies (see ``accepted``), ``until`` from where to look back."""

    message_id: ShortText
    cursor: ShortText | None = None
    until: ShortText | None = None
    page: Identifier | None = None
    limit: int = Field(default=MOST, ge=1, le=MOST)


@service.answers("delivery", searches=True)
async def delivery(inquiry: Inquiry) -> Mapping[str, Any]:
    """How far each recipient is with a message. For its sender, the sender's supervisor, and the operator.

    Of many recipients `page` is the name behind which the next answer goes on, asked for by `page`.

    Not found and `next` given: it may lie farther back, up to that cursor.
    """
    asked = understood(DeliveryParams, inquiry.params)
    message_id = message_key(asked.message_id, "params.message_id")
    facts = await inquiry.house.log(inquiry.group)
    until = Cursor.parse(asked.until, "params.until").sequence if asked.until else facts.last
    found = await copies(inquiry.house, inquiry.group, message_id, cursor=asked.cursor, until=until)
    own = [copy for copy in found if not copy.offered and await may_ask(inquiry, copy.sender)]
    if not own:
        return _farther_back(inquiry, message_id, until, facts, asked.cursor)
    rows = await standings(inquiry.house, inquiry.group, own, facts.epoch)
    part = recipients_of(rows, asked.page, asked.limit)
    return {
        "message_id": message_id,
        "type": own[0].content.get("type"),
        "stored": {"cursor": str(Cursor(facts.epoch, own[0].sequence)), "at": own[0].record.time},
        "next": None,
        "recipients": part.rows,
        "page": part.next,
        "more": part.next is not None,
        "received": sum(1 for row in rows if row["received"]),
        "handled": sum(1 for row in rows if row["handled"]),
    }


def _farther_back(
    inquiry: Inquiry, message_id: str, until: int, facts: StreamFacts, cursor: str | None
) -> Mapping[str, Any]:
    """Where to go on looking. Raises NotFound where there is nothing more to look through."""
    if cursor is not None or until - FAR < facts.first:
        where = "that the log still has" if cursor is None else "near that cursor"
        raise NotFound(f"{inquiry.caller} sent no message {message_id} {where}.", field="params.message_id")
    return {
        "message_id": message_id,
        "stored": None,
        "next": str(Cursor(facts.epoch, until - FAR)),
        "recipients": [],
        "more": False,
        "received": 0,
        "handled": 0,
    }
