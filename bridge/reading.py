"""Reading: from a record of the log to the event that connections are sent, and where it leads."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import structlog

from backchannel.delivery.audience import Life, life
from backchannel.errors import BackchannelError
from backchannel.jetstream.record import Record
from backchannel.protocol.json_object import read_object
from backchannel.protocol.lane import RANK, Lane
from backchannel.protocol.subject import Destination, InContext, locate
from bridge.framing import frame
from bridge.listeners import key_of
from bridge.ring import Event

log = structlog.get_logger("bridge.reading")


class Route(NamedTuple):
    """Where a subject leads: to whom, under which key and rank, whether it is a sidebar's life, and whether
    what lies there may be coalesced."""

    to: Destination
    key: str
    rank: int
    alive: str | None
    joins: bool


class Heard(NamedTuple):
    """A record that is an event for somebody: where it leads, and what it says."""

    route: Route
    content: dict[str, Any]


@lru_cache(maxsize=16_384)
def route(subject: str) -> Route | None:
    """None for what is no event."""
    located = locate(subject)
    if located is None:
        return None
    to = located.to
    alive = to.context_id if isinstance(to, InContext) and to.kind == "life" else None
    joins = to.kind in ("memory", "presence")
    return Route(to, key_of(to), RANK.get(located.lane, RANK[Lane.NORMAL]), alive, joins)


def read(record: Record) -> Heard | None:
    """What a record is, or None if it is not an event for anybody."""
    found = route(record.subject)
    if found is None:
        return None
    content = _message(record.payload)
    if content is None:
        log.warning("what lies there is no message", subject=record.subject, sequence=record.sequence)
        return None
    return Heard(found, content)


def readable(record: Record) -> Route | None:
    """Where a record leads, or None if it is not an event for anybody."""
    found = read(record)
    return None if found is None else found.route


def event_of(record: Record, found: Route, epoch: str) -> Event:
    """The record as it is sent: its stored bytes, with the cursor spliced in before the last brace."""
    cursor = b',"cursor":"%s.%d"}' % (epoch.encode(), record.sequence)
    body = record.payload[:-1] + cursor
    framed = frame(body)
    return Event(record.sequence, found.to, found.key, found.rank, framed, len(framed) - len(body))


def life_in(record: Record) -> Life:
    """What an event in a sidebar's life says of who is in it; nothing, if it cannot be read."""
    try:
        return life(read_object(record.payload))
    except BackchannelError:
        log.warning("an event in a sidebar's life cannot be read", subject=record.subject)
        return Life(None, None)


def _message(payload: bytes) -> dict[str, Any] | None:
    """What a client could read: compact JSON with a type and an id. Anybody may have written there."""
    if payload[:1] != b"{" or payload[-1:] != b"}":
        return None
    try:
        found = read_object(payload)
    except BackchannelError:
        return None
    good = isinstance(found.get("type"), str) and isinstance(found.get("message_id"), str)
    return found if good else None
