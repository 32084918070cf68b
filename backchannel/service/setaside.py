"""Setting aside what cannot be handled: kept in BC_DEAD for a person, and its sender told."""

from __future__ import annotations

from datetime import datetime
from uuid import uuid5

import pydantic_core

from backchannel.domain.paging import shortened
from backchannel.errors import BackchannelError
from backchannel.jetstream.publish import Entry
from backchannel.jetstream.read import Record
from backchannel.jetstream.work import Delivery
from backchannel.protocol.catalog import write
from backchannel.protocol.identifier import PLATFORM
from backchannel.protocol.json_object import read_object
from backchannel.protocol.mention import Undeliverable
from backchannel.protocol.message import rfc3339
from backchannel.protocol.subject import Asked, InInbox
from backchannel.service.due import REDELIVERS
from backchannel.service.follow import FAMILY
from backchannel.service.house import House

RETAINED = ("Nats-Msg-Id", "Bc-Type", "Bc-Lane", "Bc-Claims", REDELIVERS, "traceparent")
"""Headers without which it could not be handled another time."""
LARGEST = 1_900_000
"""Bytes of what is kept of one message, which takes more room as text in JSON than it had."""


async def set_aside(
    house: House, service: str, delivery: Delivery, found: Asked, reason: str, now: datetime
) -> None:
    """Keep the command with the reason, tell its sender, then settle it. Repeating it changes nothing.

    If the log cannot be reached the command stays where it is and comes again.
    """
    record = delivery.record
    original = _message_id(record, found.agent) or f"sequence-{record.sequence}"
    told = Undeliverable(
        message_id=uuid5(FAMILY, f"{found.agent}:{original}:undeliverable"),
        timestamp=now,
        sender_agent_id=PLATFORM,
        original_message_id=original,
        reason=f"The {service} service could not handle it: {reason[:1000]}",
        in_reply_to=original,
    )
    try:
        await keep(house, service, found.group, delivery, reason, now)
        await house.publisher.store(
            Entry(
                InInbox(found.agent, "notice").subject(found.group, found.lane),
                write(told),
                {
                    "Nats-Msg-Id": f"{found.agent}:{original}:undeliverable",
                    "Bc-Type": told.type,
                    "Bc-Lane": found.lane,
                },
            )
        )
    except BackchannelError:
        await delivery.retry(5.0)
        return
    await delivery.settle()


async def keep(
    house: House, service: str, group: str, delivery: Delivery, reason: str, now: datetime
) -> None:
    """Keep what was delivered in BC_DEAD, with the reason; of what is too large even for that, its beginning.

    Raises:
        BackchannelError: the log cannot be reached.
    """
    record = delivery.record
    kept = {
        "service": service,
        "subject": record.subject,
        "sequence": record.sequence,
        "time": record.time,
        "headers": {name: said for name, said in (record.headers or {}).items() if name in RETAINED},
        "attempts": delivery.attempt,
        "reason": reason,
        "at": rfc3339(now),
        "payload": record.payload.decode("utf-8", "replace"),
    }
    await house.publisher.store(
        Entry(
            f"bc.{group}.dead.{service}",
            pydantic_core.to_json(shortened(kept, LARGEST)),
            {"Nats-Msg-Id": f"{service}:{record.subject}:{record.sequence}"},
        )
    )


def _message_id(record: Record, sender: str) -> str | None:
    """What its sender calls it: in the payload, or where that cannot be read in its header."""
    try:
        found = read_object(record.payload).get("message_id")
    except BackchannelError:
        found = None
    if isinstance(found, str):
        return found
    agent, _, message_id = (record.headers or {}).get("Nats-Msg-Id", "").partition(":")
    return message_id if agent == sender and message_id else None
