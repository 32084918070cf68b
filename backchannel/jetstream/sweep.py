"""Sweeping away commands that every consumer has settled, some time after."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from backchannel.errors import NotFound
from backchannel.jetstream.answer import api
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.read import describe

PAGE = 256


async def sweep(connection: Connection, stream: str, keep_seconds: float, *, filter: str = ">") -> int:
    """Purge what is older than `keep_seconds` and settled everywhere; how many messages that were.

    A consumer that has nothing left is no hindrance: its floor stays where its last own message lay. While
    there is no consumer at all, nothing is settled. `filter` names the subjects that may be swept: those that
    somebody is sure to have a consumer for.
    """
    facts = await describe(connection, stream)
    if facts.consumers == 0:
        return 0
    floor = min(await _floor(connection, stream), facts.last) + 1
    aged = await _first_since(connection, stream, keep_seconds)
    end = min(floor, facts.last + 1 if aged is None else aged)
    if end <= facts.first:
        return 0
    answer = await api(connection, f"STREAM.PURGE.{stream}", {"seq": end, "filter": filter})
    return int(answer.get("purged", 0))


async def _floor(connection: Connection, stream: str) -> int:
    """The last sequence up to which every consumer has settled everything."""
    floor = 2**62
    offset = 0
    while True:
        answer = await api(connection, f"CONSUMER.LIST.{stream}", {"offset": offset})
        consumers: list[dict[str, Any]] = answer.get("consumers") or []
        for consumer in consumers:
            if consumer.get("num_pending", 0) or consumer.get("num_ack_pending", 0):
                floor = min(floor, int(consumer["ack_floor"]["stream_seq"]))
        offset += len(consumers)
        if not consumers or offset >= int(answer.get("total", 0)):
            return floor


async def _first_since(connection: Connection, stream: str, seconds: float) -> int | None:
    """The first sequence stored within the last `seconds`; None if there is none."""
    since = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    try:
        answer = await api(connection, f"STREAM.MSG.GET.{stream}", {"start_time": since, "next_by_subj": ">"})
    except NotFound:
        return None
    return int(answer["message"]["seq"])
