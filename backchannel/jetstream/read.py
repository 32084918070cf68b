"""Reading streams through the leader: what they are, the newest record, all that followed."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from backchannel.errors import NotFound
from backchannel.jetstream.answer import NoStream, api
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.page import Page, page
from backchannel.jetstream.record import Record, moment_of

__all__ = [
    "Page",
    "Record",
    "StreamFacts",
    "describe",
    "epoch_of",
    "facts_of",
    "find_id",
    "first_since",
    "following",
    "last",
    "moment_of",
    "page",
    "read_one",
]

DEDUP_WINDOW = timedelta(minutes=6)
"""A little more than the window in which streams recognise a repeated id."""

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)
"""Moments between which the server counts; a later one would come out as one long ago."""


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What a stream holds. `epoch` names this life of it: a stream made anew has another one."""

    name: str
    epoch: str
    created: str
    first: int
    last: int
    messages: int
    bytes: int
    config: Mapping[str, Any]
    consumers: int = 0


def epoch_of(created: str) -> str:
    """Eight hexadecimal digits from a stream's creation time."""
    return hashlib.sha256(created.encode()).hexdigest()[:8]


async def describe(connection: Connection, stream: str) -> StreamFacts:
    """
    Raises:
        NotFound: there is no such stream.
        Unavailable: no answer.
    """
    return facts_of(await api(connection, f"STREAM.INFO.{stream}"))


def facts_of(answer: Mapping[str, Any]) -> StreamFacts:
    """From JetStream's description of a stream."""
    state = answer["state"]
    return StreamFacts(
        name=answer["config"]["name"],
        epoch=epoch_of(answer["created"]),
        created=answer["created"],
        first=int(state["first_seq"]),
        last=int(state["last_seq"]),
        messages=int(state["messages"]),
        bytes=int(state["bytes"]),
        config=answer["config"],
        consumers=int(state.get("consumer_count", 0)),
    )


async def last(connection: Connection, stream: str, subject_filter: str) -> Record | None:
    """The newest record a filter matches, as the leader has it; None if there is none."""
    return await _one(connection, stream, {"last_by_subj": subject_filter})


async def read_one(connection: Connection, stream: str, sequence: int) -> Record | None:
    """The record at a position, as the leader has it; None if it was taken out or is not there yet."""
    return await _one(connection, stream, {"seq": sequence})


async def first_since(
    connection: Connection, stream: str, moment: datetime, subject_filter: str = ">"
) -> Record | None:
    """The first record stored at a moment or later, as the leader has it; None if there is none yet."""
    within = min(max(moment, EARLIEST), LATEST).astimezone(UTC)
    since = within.isoformat().replace("+00:00", "Z")
    return await _one(connection, stream, {"start_time": since, "next_by_subj": subject_filter})


async def following(
    connection: Connection, stream: str, subject_filter: str, after: int, limit: int
) -> list[Record]:
    """Up to `limit` records behind a position that a filter matches, in order, as the leader has them.

    The leader is asked for the newest one; the rest may come from anywhere if it reaches as far. If it does
    not, because a follower lags, the leader is asked for each.
    """
    newest = await last(connection, stream, subject_filter)
    if newest is None or newest.sequence <= after:
        return []
    found: list[Record] = []
    while len(found) < limit:
        part = await page(connection, stream, after, limit=limit - len(found), filter=subject_filter)
        found += part.records
        after = part.last_sequence_scanned
        if after >= newest.sequence or len(found) >= limit:
            return found
        if part.done:
            break
    return found + await _one_by_one(connection, stream, subject_filter, after, limit - len(found))


async def _one_by_one(
    connection: Connection, stream: str, subject_filter: str, after: int, limit: int
) -> list[Record]:
    found: list[Record] = []
    while len(found) < limit:
        record = await _one(connection, stream, {"seq": after + 1, "next_by_subj": subject_filter})
        if record is None:
            break
        found.append(record)
        after = record.sequence
    return found


async def find_id(connection: Connection, subject: str, message_id: str) -> tuple[str, int] | None:
    """Stream and sequence of the message with this id on a subject, if it was stored a short while ago."""
    answer = await api(connection, "STREAM.NAMES", {"subject": subject})
    for stream in answer.get("streams") or ():
        newest = await last(connection, stream, subject)
        if newest is None:
            continue
        if _bears(newest, message_id):
            return stream, newest.sequence
        sequence = await _search(connection, stream, subject, message_id, newest.sequence)
        if sequence is not None:
            return stream, sequence
    return None


async def _search(
    connection: Connection, stream: str, subject: str, message_id: str, until: int
) -> int | None:
    """Others have written on the subject since: look through all of it that repeats may concern."""
    since = (datetime.now(UTC) - DEDUP_WINDOW).isoformat().replace("+00:00", "Z")
    first = await _one(connection, stream, {"start_time": since, "next_by_subj": subject})
    after, done = (first.sequence - 1, False) if first is not None else (until, True)
    while not done:
        part = await page(connection, stream, after, filter=subject, until=until)
        for record in part.records:
            if _bears(record, message_id):
                return record.sequence
        after, done = part.last_sequence_scanned, part.done
    return None


def _bears(record: Record, message_id: str) -> bool:
    return (record.headers or {}).get("Nats-Msg-Id") == message_id


async def _one(connection: Connection, stream: str, wanted: Mapping[str, Any]) -> Record | None:
    try:
        answer = await api(connection, f"STREAM.MSG.GET.{stream}", wanted)
    except NoStream:
        raise
    except NotFound:
        return None
    return _stored(answer["message"])


def _stored(message: Mapping[str, Any]) -> Record:
    return Record(
        int(message["seq"]),
        message["subject"],
        base64.b64decode(message.get("data") or ""),
        base64.b64decode(message.get("hdrs") or ""),
        message["time"],
    )
