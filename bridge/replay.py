"""Replay: what a returning client missed, from the log and then the ring, up to the exact seam with now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import structlog

from backchannel.delivery.resume import Course
from backchannel.delivery.traits import URGENT
from backchannel.errors import Unavailable
from backchannel.jetstream.read import Page, Record
from backchannel.protocol.subject import content_of, inbox_of, urgent_in
from bridge.feed import PAGE, Feed
from bridge.listeners import EVERYONE, Listener
from bridge.reading import readable
from bridge.ring import Event

log = structlog.get_logger("bridge.replay")
EXACT = 5_000
"""Positions up to which the number of events to come is counted; beyond, it is an upper bound."""

MOST_EVENTS = 100
MOST_BYTES = 256 << 10
AT_ONCE = 1_000
"""Ring events looked at in one turn of the loop,"""

BYTES_AT_ONCE = 1 << 20
"""and their bytes."""

READERS = 16
"""Pages that are read from the log at a time, for everybody together."""

RETRY = 0.5
MOST_FILTERS = 32
"""Sidebars of a newcomer up to which each is read by itself; beyond, the whole log is read once."""


class Reader(Listener, Protocol):
    """A connection that is being brought up to date."""

    @property
    def overtaken(self) -> Collection[int]:
        """Positions that were sent ahead."""

    def wants(self, event: Event) -> bool:
        """Whether it wants it at all, of what it may see."""

    def catch_up(self, events: Sequence[Event], remaining: int) -> None: ...
    def caught_up(self, position: int) -> None:
        """It has been given everything up to `position`."""

    def go_live(self) -> None: ...

    async def drained(self) -> None:
        """Wait until it takes more. Raises ConnectionError when it has gone."""


class Batch(NamedTuple):
    """Events somebody sees, and the position up to which that is all."""

    events: list[Event]
    position: int


async def _at_any_time(_: int) -> None:
    """Nobody else is there."""


@dataclass(slots=True)
class Replay:
    """One connection's way from a position of the log to now.

    Args:
        gate: is open for as many pages at a time as may be read.
        turn: waits until so many bytes may be looked through in this turn of the loop.
    """

    feed: Feed
    reader: Reader
    course: Course
    gate: AbstractAsyncContextManager[Any]
    at_once: int = AT_ONCE
    turn: Callable[[int], Awaitable[None]] = _at_any_time
    total: int = field(default=0, init=False)
    _sent: int = field(default=0, init=False)

    async def measure(self) -> int:
        """How many events are to come. Raises Unavailable."""
        self.feed.fanout.flush()
        until = self.feed.position
        if self.feed.ring.covers(self.course.after):
            self.total = sum(1 for event in self.feed.ring.after(self.course.after) if self._visible(event))
        elif until - self.course.after <= EXACT or self.course.since:
            self.total = await self._count(until)
        else:
            self.total = until - self.course.after
        return self.total

    async def run(self) -> int:
        """Send what was missed, then let the reader hear what happens, without a gap or a repetition.

        Returns the position from which on it hears.

        Raises:
            ConnectionError: the reader has gone.
            Unavailable: the log cannot be read on, or what was missed was given up while it was read.
        """
        position, shed = self.course.after, self.feed.shed
        self.reader.caught_up(position)
        if not self._at_once(position):
            await self._urgent_first(position)
        while True:
            if not self.feed.ring.covers(position):
                before, position = position, await self._from_log(position)
                if self.feed.shed > max(before, shed):
                    raise Unavailable(
                        "What was missed is given up just now; come again and be told of the gap."
                    )
            position = await self._from_ring(position)
            if self.reader in self.feed.fanout.listeners:
                return position

    def _at_once(self, position: int) -> bool:
        """Whether all that is to come comes in this very turn, so that nothing can overtake it."""
        self.feed.fanout.flush()
        ring = self.feed.ring
        return ring.covers(position) and len(self._stretch(position)) == len(ring.after(position))

    async def _urgent_first(self, position: int) -> None:
        """What is urgent of all that was missed goes ahead, in its order; then what happens now may, too."""
        overtaking = False
        while True:
            if not self.feed.ring.covers(position):
                overtaking = True  # what lies between is not known
                async for batch in self._merged(urgent_in(self.feed.group), position, self.feed.position):
                    if not await self._ahead(batch.events):
                        return
                    position = batch.position
                continue
            self.feed.fanout.flush()
            stretch = self._stretch(position)
            if not stretch:
                self.feed.fanout.returning[self.reader] = None
                self.feed.early.offer(self.reader)
                return
            visible = [event for event in stretch if self._visible(event)]
            in_turn = 0 if overtaking else _leading(visible)
            overtaking = overtaking or in_turn < len(visible)
            if not await self._ahead([one for one in visible if one.rank < URGENT], in_turn):
                return
            position = stretch[-1].sequence

    async def _ahead(self, events: Sequence[Event], in_turn: int = 0) -> bool:
        """Send these ahead; False if there is no room for that. The first `in_turn` overtake nothing."""
        for number, event in enumerate(events):
            if number < in_turn:
                self.reader.caught_up(event.sequence - 1)
            if not self.reader.overtake(event):
                return False
        await self.reader.drained()
        return True

    def _stretch(self, position: int) -> Sequence[Event]:
        return _stretch(self.feed.ring.after(position, self.at_once))

    async def _from_log(self, position: int) -> int:
        async for batch in self._batches(position, self.feed.position):
            for chunk in _chunks(self._fresh(batch.events)):
                self._give(chunk)
                await self.reader.drained()
            position = batch.position
            self.reader.caught_up(position)
            if position >= self.course.since and self.feed.ring.covers(position):
                break
        return position

    async def _from_ring(self, position: int) -> int:
        """Read on in the ring, a stretch at a time; at its end, join the audience in the same turn."""
        while self.feed.ring.covers(position):
            self.feed.fanout.flush()
            stretch = self._stretch(position)
            for chunk in _chunks(self._fresh([event for event in stretch if self._visible(event)])):
                self._give(chunk)
            position = stretch[-1].sequence if stretch else position
            if not self.feed.ring.after(position, 1):
                self.feed.fanout.join(self.reader)
                self.reader.caught_up(self.feed.position)
                self.reader.go_live()
                self.feed.early.offer(self.reader)
                return self.feed.position
            self.reader.caught_up(position)
            await self.reader.drained()
        return position

    def _fresh(self, events: list[Event]) -> list[Event]:
        """Those that were not sent ahead."""
        fresh = [event for event in events if event.sequence not in self.reader.overtaken]
        self._sent += len(events) - len(fresh)
        return fresh

    def _give(self, chunk: Sequence[Event]) -> None:
        self._sent += len(chunk)
        self.reader.catch_up(chunk, max(0, self.total - self._sent))
        self.reader.caught_up(chunk[-1].sequence)

    def _visible(self, event: Event) -> bool:
        before = event.sequence <= self.course.since
        if before and event.key == EVERYONE:
            return False
        access = () if before else self.reader.access
        seen = self.feed.membership.sees(self.reader.agent, event.to, event.sequence, access)
        return seen and self.reader.wants(event)

    async def _count(self, until: int) -> int:
        counted, looked_at = 0, 0
        async for batch in self._batches(self.course.after, until):
            counted += len(batch.events)
            looked_at += PAGE
            if looked_at > EXACT:
                return counted + until - batch.position
        return counted

    async def _batches(self, after: int, until: int) -> AsyncIterator[Batch]:
        """What the reader sees of the log in `(after, until]`, in order, a page at a time."""
        since = min(self.course.since, until)
        if after < since and (filters := self._personal()):
            async for batch in self._merged(filters, after, since):
                yield batch
            after = since
        while after < until:
            found = await self._page(after, ">", until)
            after = found.last_sequence_scanned
            yield self._batch(found.records, after)

    async def _page(self, after: int, wanted: str, until: int) -> Page:
        """A page of the log. While it cannot be read, its reader waits."""
        while True:
            try:
                async with self.gate:
                    found = await self.feed.page(after, wanted, until)
                await self.turn(sum(len(record.payload) for record in found.records))
                return found
            except Unavailable as problem:
                log.info("a replay waits for the log", problem=problem.message)
            await asyncio.sleep(RETRY)
            await self.reader.drained()

    async def _merged(self, filters: Sequence[str], after: int, until: int) -> AsyncIterator[Batch]:
        """The records of several filters in `(after, until]` as one sequence."""
        reached = dict.fromkeys(filters, after)
        waiting: list[Record] = []
        position = after
        while position < until:
            for wanted in [name for name in filters if reached[name] == position]:
                found = await self._page(position, wanted, until)
                waiting.extend(found.records)
                reached[wanted] = found.last_sequence_scanned
            position = min(reached.values())
            waiting.sort(key=lambda record: record.sequence)
            ready = [record for record in waiting if record.sequence <= position]
            waiting = waiting[len(ready) :]
            yield self._batch(ready, position)

    def _batch(self, records: Sequence[Record], position: int) -> Batch:
        events = [self.feed.event(record, found) for record in records if (found := readable(record))]
        return Batch([event for event in events if self._visible(event)], position)

    def _personal(self) -> list[str]:
        """Filters that find all that was for this agent in person; none if they would be too many."""
        sidebars = self.feed.membership.ever_of(self.reader.agent)
        if len(sidebars) > MOST_FILTERS:
            return []
        group = self.feed.group
        return [inbox_of(group, self.reader.agent), *(content_of(group, name) for name in sorted(sidebars))]


def _leading(events: Sequence[Event]) -> int:
    """How many of them are urgent before the first that is not."""
    return next((index for index, event in enumerate(events) if event.rank >= URGENT), len(events))


def _stretch(events: Sequence[Event]) -> Sequence[Event]:
    """As many of them as one turn of the loop may give."""
    length = 0
    for index, event in enumerate(events):
        length += event.size
        if length > BYTES_AT_ONCE and index:
            return events[:index]
    return events


def _chunks(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Stretches small enough for one frame."""
    start, length = 0, 0
    for index, event in enumerate(events):
        length += event.size
        if index > start and (length > MOST_BYTES or index - start == MOST_EVENTS):
            yield events[start:index]
            start, length = index, event.size
    if start < len(events):
        yield events[start:]
