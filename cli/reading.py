"""Finding one's way in an event log: the newest records, those since a moment, those that come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from backchannel.jetstream.connection import Connection
from backchannel.jetstream.read import Record, StreamFacts, page
from backchannel.jetstream.tail import Tail

PAGE = 500
WAITING = 1000


@dataclass(frozen=True, slots=True)
class View:
    """Which records to show: the newest ones, unless they shall begin behind a position or at a moment."""

    limit: int
    after: int | None = None
    since: datetime | None = None
    subject: str = ">"


async def viewed(connection: Connection, facts: StreamFacts, view: View) -> list[Record]:
    """The records of a view, in order; none that came after `facts`."""
    after = view.after if view.since is None else await before(connection, facts, view.since)
    if after is None:
        return await newest(connection, facts, view.limit, view.subject)
    found = forward(connection, facts.name, after, limit=view.limit, subject=view.subject, until=facts.last)
    return [record async for record in found]


async def forward(
    connection: Connection,
    stream: str,
    after: int,
    *,
    limit: int | None,
    subject: str,
    until: int | None = None,
) -> AsyncIterator[Record]:
    """Records behind a position, up to `limit` of them."""
    left = limit
    while left is None or left > 0:
        size = PAGE if left is None else min(left, PAGE)
        found = await page(connection, stream, after, limit=size, filter=subject, until=until)
        for record in found.records:
            yield record
        if found.done or not found.records:
            return
        after = found.records[-1].sequence
        left = None if left is None else left - len(found.records)


async def newest(connection: Connection, facts: StreamFacts, limit: int, subject: str) -> list[Record]:
    """The last `limit` records that a subject filter matches, oldest first."""
    reach = limit
    while True:
        start = max(facts.first - 1, facts.last - reach)
        records = [
            record
            async for record in forward(
                connection, facts.name, start, limit=None, subject=subject, until=facts.last
            )
        ]
        if len(records) >= limit or start <= facts.first - 1:
            return records[-limit:]
        reach *= 8


async def before(connection: Connection, facts: StreamFacts, moment: datetime) -> int:
    """The position behind which everything is as young as `moment`, found by halving."""
    low, high = max(facts.first - 1, 0), facts.last
    while low < high:
        middle = (low + high) // 2
        found = await page(connection, facts.name, middle, limit=1)
        if not found.records or datetime.fromisoformat(found.records[0].time) >= moment:
            high = middle
        else:
            low = found.records[0].sequence
    return low


async def following(connection: Connection, stream: str, after: int, subject: str) -> AsyncIterator[Record]:
    """Every record behind a position, as it comes, without end. A slow reader is read for again."""
    while True:
        overrun = asyncio.Event()
        waiting: asyncio.Queue[Record] = asyncio.Queue(WAITING)

        def take(
            record: Record, waiting: asyncio.Queue[Record] = waiting, overrun: asyncio.Event = overrun
        ) -> None:
            if overrun.is_set() or waiting.full():
                overrun.set()
            else:
                waiting.put_nowait(record)

        filters = [] if subject == ">" else [subject]
        tail = Tail(connection, stream, after=after, on_record=take, filters=filters)
        await tail.start()
        try:
            while not (overrun.is_set() and waiting.empty()):
                record = await waiting.get()
                after = record.sequence
                yield record
        finally:
            await tail.stop()
