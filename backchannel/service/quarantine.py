"""The quarantine: where messages of a loop lie in BC_DEAD until a person releases or drops them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid5

import pydantic_core

from backchannel.delivery.loops import Finding
from backchannel.errors import NotFound
from backchannel.jetstream.answer import api
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.entry import Entry
from backchannel.jetstream.page import page
from backchannel.jetstream.publish import Publisher, Stored
from backchannel.protocol.catalog import AnyMessage, write
from backchannel.protocol.identifier import PLATFORM
from backchannel.protocol.lane import Lane
from backchannel.protocol.mention import MessageQuarantined
from backchannel.protocol.message import rfc3339
from backchannel.protocol.subject import DEAD, InInbox
from backchannel.service.admit import HOPS, Sender
from backchannel.service.follow import FAMILY

SERVICE = "quarantine"
LARGEST = 1_900_000
"""Bytes of what is kept of one message; the stream takes little more in one piece."""


def parked(
    sender: Sender, message: AnyMessage, entries: Sequence[Entry], found: Finding, now: datetime
) -> Entry:
    """The message with all that is needed to store it later. A repetition lies there once, and so does what
    is said to several in the same words."""
    payloads = list(dict.fromkeys(one.payload for one in entries))
    kept = {
        "service": SERVICE,
        "id": str(message.message_id),
        "sender": sender.agent,
        "type": message.type,
        "between": sorted({sender.agent, *found.between}),
        "hops": found.hops,
        "reason": found.reason,
        "at": rfc3339(now),
        "payloads": [payload.decode() for payload in payloads],
        "entries": [
            {"subject": one.subject, "says": payloads.index(one.payload), "headers": dict(one.headers)}
            for one in entries
        ],
    }
    return Entry(
        f"bc.{sender.group}.dead.{SERVICE}",
        pydantic_core.to_json(kept),
        {"Nats-Msg-Id": f"{SERVICE}:{sender.agent}:{message.message_id}"},
    )


def notice(
    group: str, human: str, message: AnyMessage, agents: Sequence[str], found: Finding, key: str
) -> Entry:
    """What a human is told; once for each `key`, whoever tells it."""
    identity = f"{SERVICE}:{key}:{human}"
    told = MessageQuarantined(
        message_id=uuid5(FAMILY, f"{group}:{identity}"),
        timestamp=datetime.now(UTC),
        sender_agent_id=PLATFORM,
        original_message_id=str(message.message_id),
        agents=list(agents),
        reason=found.reason or "",
        hops=found.hops,
    )
    lane = Lane.HIGH
    return Entry(
        InInbox(human, "notice").subject(group, lane),
        write(told),
        {"Nats-Msg-Id": identity, "Bc-Type": told.type, "Bc-Lane": lane.value},
    )


@dataclass(frozen=True, slots=True)
class Parked:
    """One message in the quarantine, and where it lies."""

    sequence: int
    group: str
    content: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.content["id"])


async def held(connection: Connection, groups: Sequence[str]) -> AsyncIterator[Parked]:
    """Everything that is parked, oldest first."""
    for group in groups:
        position, done = 0, False
        while not done:
            found = await page(connection, DEAD, position, filter=f"bc.{group}.dead.{SERVICE}")
            for record in found.records:
                yield Parked(record.sequence, group, pydantic_core.from_json(record.payload))
            position, done = found.last_sequence_scanned, found.done


async def one(connection: Connection, groups: Sequence[str], message_id: str) -> Parked:
    """Raises NotFound."""
    async for found in held(connection, groups):
        if found.id == message_id:
            return found
    raise NotFound(
        f"No message {message_id} is in the quarantine; `backchannel quarantine ls` shows what is."
    )


async def release(connection: Connection, found: Parked) -> Stored:
    """Store it after all, as the first of a new chain, and take it out. Raises Unavailable.

    Done twice, or half, it is stored once.
    """
    entries = [
        Entry(
            kept["subject"],
            _said(found.content, kept).encode(),
            {name: said for name, said in kept["headers"].items() if name != HOPS},
        )
        for kept in found.content["entries"]
    ]
    publisher = Publisher(connection)
    try:
        stored = await publisher.commit(entries)
    finally:
        await publisher.close()
    await drop(connection, found)
    return stored


def _said(content: Mapping[str, Any], kept: Mapping[str, Any]) -> str:
    """What one entry says; of what was parked by an older platform, each has that beside it."""
    return str(kept["payload"] if "payload" in kept else content["payloads"][kept["says"]])


async def drop(connection: Connection, found: Parked) -> None:
    """Take it out for good."""
    await api(connection, f"STREAM.MSG.DELETE.{DEAD}", {"seq": found.sequence})
