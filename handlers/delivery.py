"""Answers where a message stands: stored, received by whom, handled by whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backchannel.delivery.cursor import Cursor
from backchannel.errors import NotFound
from backchannel.protocol.message import ShortText
from backchannel.service.context import Inquiry
from backchannel.service.declare import Service
from backchannel.service.finding import copies, message_key
from backchannel.service.inspection import may_ask
from backchannel.service.params import Params, understood
from backchannel.service.standing import MOST, standings

service = Service("delivery", about=__doc__)


class DeliveryParams(Params):
    """Which message; ``cursor``, as ``accepted`` told it, finds an old one."""

    message_id: ShortText
    cursor: ShortText | None = None


@service.answers("delivery")
async def delivery(inquiry: Inquiry) -> Mapping[str, Any]:
    """How far each recipient is with a message. For its sender, the sender's supervisor, and the operator."""
    asked = understood(DeliveryParams, inquiry.params)
    message_id = message_key(asked.message_id, "params.message_id")
    found = await copies(inquiry.house, inquiry.group, message_id, cursor=asked.cursor)
    own = [copy for copy in found if not copy.offered and await may_ask(inquiry, copy.sender)]
    if not own:
        raise NotFound(
            f"{inquiry.caller} sent no message {message_id} lately; an older one is found with its cursor.",
            field="params.message_id",
        )
    facts = await inquiry.house.log(inquiry.group)
    rows = await standings(inquiry.house, inquiry.group, own, facts.epoch)
    return {
        "message_id": message_id,
        "type": own[0].content.get("type"),
        "stored": {"cursor": str(Cursor(facts.epoch, own[0].sequence)), "at": own[0].record.time},
        "recipients": rows[:MOST],
        "more": len(rows) > MOST,
        "received": sum(1 for row in rows if row["received"]),
        "handled": sum(1 for row in rows if row["handled"]),
    }
