"""Infodump: history that somebody asked for, its cost first, then a page of it beside what happens now."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pydantic_core

from backchannel.delivery.cursor import Cursor
from backchannel.delivery.infodump import Point, Wanted
from backchannel.errors import NotFound
from backchannel.protocol.subject import happened_in
from bridge.ear import Ear
from bridge.feed import Feed
from bridge.reading import read
from bridge.reads import Reading
from bridge.ring import Event

EXACT = 5_000
"""Positions up to which the cost is counted; beyond, it is what the log holds there for everybody."""

MOST_EVENTS = 100
MOST_BYTES = 64 << 10
"""What one frame holds at most, if no single event is larger."""

PAGE_BYTES = 16 << 20
AT_ONCE = 16 << 10
"""Bytes that are looked through before anybody else is asked whether it is his turn."""


@dataclass(frozen=True, slots=True)
class Cost:
    """How many events are to come, and how many bytes of them; at most so many if it is an estimate."""

    count: int
    length: int
    estimated: bool = False


@dataclass(slots=True)
class Infodump:
    """One page for one connection. It touches neither the connection's position nor what it has delivered."""

    feed: Feed
    ear: Ear
    wanted: Wanted
    in_reply_to: str
    reading: Reading
    _remaining: int = field(default=0, init=False)
    _owed: int = field(default=0, init=False)

    async def run(self, say: Callable[[Mapping[str, Any]], None]) -> None:
        """Tell what it costs, then give it.

        Raises:
            NotFound: a position belongs to another log.
            Unavailable: the log cannot be read now.
            ConnectionError: the connection has gone.
        """
        after, until = await self._bounds()
        cost = await self._cost(after, until)
        say(self._answer(cost, after, until))
        if self.wanted.limit:
            self._remaining = cost.count
            await self._give(after, until)

    async def _bounds(self) -> tuple[int, int]:
        """The positions behind which and up to which to read."""
        for cursor in self.wanted.cursors:
            if cursor.epoch != self.feed.epoch:
                raise NotFound("That position belongs to another log: this one was made anew since.")
        self.feed.fanout.flush()
        after = await self._position(self.wanted.since, 0) - 1
        until = await self._last(self.wanted.until)
        if isinstance(self.wanted.until, Cursor) and until > self.feed.position:
            await self.feed.catch_up()  # it was told of by `accepted`, before the tail has come there
        if self.wanted.after is not None:
            after = max(after, self.wanted.after.sequence)
        return max(after, self.feed.extent.first - 1, 0), min(until, self.feed.position)

    async def _position(self, point: Point | None, otherwise: int) -> int:
        match point:
            case None:
                return otherwise
            case Cursor(sequence=sequence):
                return sequence
            case moment:
                return await self.feed.since(moment)

    async def _last(self, point: Point | None) -> int:
        if isinstance(point, Cursor) or point is None:
            return await self._position(point, self.feed.position)
        return await self._position(point, 0) - 1

    async def _cost(self, after: int, until: int) -> Cost:
        if until - after > EXACT:
            facts = await self.feed.survey()
            average = facts.bytes // max(facts.messages, 1)
            return Cost(until - after, (until - after) * average, estimated=True)
        count, length = 0, 0
        async for event in self._events(after, until):
            count, length = count + 1, length + event.size
        return Cost(count, length)

    def _answer(self, cost: Cost, after: int, until: int) -> dict[str, Any]:
        since, first = self.wanted.since, self.feed.extent.first
        lost = isinstance(since, Cursor) and since.sequence < first
        return {
            "type": "result",
            "in_reply_to": self.in_reply_to,
            "status": "success",
            "count": cost.count,
            "bytes": cost.length,
            "estimated": cost.estimated,
            "from": self.feed.cursor_at(after + 1),
            "to": self.feed.cursor_at(until),
            "next": self.feed.cursor_at(after) if cost.count else None,
            "missing": f"The log begins at {self.feed.cursor_at(first)}; what was before is gone."
            if lost
            else None,
        }

    # ---- giving

    async def _give(self, after: int, until: int) -> None:
        """Frames while the line is free; the last one of the page says how to go on."""
        waiting: list[Event] = []
        count, length, total = 0, 0, 0
        async for event in self._events(after, until):
            if count == self.wanted.limit or total > PAGE_BYTES:
                await self._send(waiting, next_=self.feed.cursor_at(waiting[-1].sequence))
                return
            if waiting and (length + event.size > MOST_BYTES or len(waiting) == MOST_EVENTS):
                await self._send(waiting)
                waiting, length = [], 0
            waiting.append(event)
            count, length, total = count + 1, length + event.size, total + event.size
        self._remaining = len(waiting)
        await self._send(waiting, next_=None)

    async def _send(self, events: Sequence[Event], **last: str | None) -> None:
        await self.ear.calm()
        self._remaining = max(0, self._remaining - len(events))
        said = {"remaining": self._remaining, "infodump": self.in_reply_to}
        if "next_" in last:
            said["next"] = last["next_"]
        joined = b",".join([event.body for event in events])
        self.ear.give(b'{"type":"catch_up","events":[%s],%s' % (joined, pydantic_core.to_json(said)[1:]))

    # ---- reading

    async def _events(self, after: int, until: int) -> AsyncIterator[Event]:
        """What the connection may see, and asked for, of `(after, until]`."""
        while after < until:
            async with self.reading:
                found = await self.feed.page(after, happened_in(self.feed.group), until)
            after = found.last_sequence_scanned
            for record in found.records:
                await self._do(len(record.payload))
                heard = read(record)
                if heard is None or not self.wanted.takes(record.sequence, heard.route.rank):
                    continue
                event = self.feed.event(record, heard.route)
                if self._visible(event) and await self._fits(heard.content):
                    yield event

    async def _do(self, cost: int) -> None:
        """So much is about to be done, or was: others come first when it is their turn."""
        self._owed += cost
        if self._owed >= AT_ONCE:
            owed, self._owed = self._owed, 0
            await self.reading.turn(owed)

    async def _fits(self, content: Mapping[str, Any]) -> bool:
        search = self.wanted.search(content)
        while True:
            try:
                cost = next(search)
            except StopIteration as end:
                return bool(end.value)
            await self._do(cost)

    def _visible(self, event: Event) -> bool:
        ear = self.ear
        return self.feed.membership.sees(ear.agent, event.to, event.sequence, ear.access)
