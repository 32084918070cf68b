"""The feed of one group: one tail over its log, and everything a bridge knows of that log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

import structlog

from backchannel.delivery.audience import Membership
from backchannel.delivery.cursor import Cursor, Extent
from backchannel.delivery.traits import Traits, traits
from backchannel.domain.settings import USUAL, Settings
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.read import Page, Record, StreamFacts, describe, first_since, last, page
from backchannel.jetstream.tail import Tail
from backchannel.protocol.json_object import read_object
from backchannel.protocol.subject import events_stream, life_of, lives, shed_mark
from bridge.early import Early
from bridge.exchanges import Exchanges
from bridge.fanout import Fanout
from bridge.metrics import Metrics
from bridge.reading import Heard, Route, event_of, life_in, read, route
from bridge.ring import MOST_BYTES, MOST_EVENTS, Event, Ring
from bridge.states import States

log = structlog.get_logger("bridge.feed")
PAGE = 500
PAGE_BYTES = 1 << 20
SAMPLED_EACH = 0.1
MOST_TRAITS = 4_096
"""Events whose traits are remembered, for the connections that choose by them."""


class Feed:
    """Everything a bridge knows of one group's log. Synchronous but for its opening and closing.

    Whoever joins its fan-out after reading the ring up to `position` hears exactly what comes after it.
    """

    def __init__(
        self,
        connection: Connection,
        group: str,
        metrics: Metrics,
        on_replaced: Callable[[Feed], None],
        settings: Callable[[], Settings] = lambda: USUAL,
    ) -> None:
        self.group = group
        self.stream = events_stream(group)
        self.connection = connection
        self.epoch = ""
        self.first = 0
        self.fences = False
        self.shed = 0
        self.last_known = 0
        self.position = 0
        self.membership = Membership()
        self.fanout = Fanout(self.membership, settings)
        self.exchanges = Exchanges(self.membership)
        self.ring = Ring(0)
        self.states = States()
        self._metrics = metrics
        self._on_replaced = on_replaced
        self._next_sample = 0.0
        self._traits: dict[int, Traits] = {}
        self._tail: Tail | None = None
        self.early = Early(self)

    async def open(self) -> None:
        """Read who is in which sidebar, fill the ring, and go on from there.

        Raises:
            Unavailable: the log cannot be read now.
        """
        facts = await self.survey()
        marked = await last(self.connection, self.stream, shed_mark(self.group))
        if marked is not None:
            self._shed(marked)
        await self._read_lives(facts.last)
        start = max(facts.first - 1, facts.last - _depth(facts), 0)
        self.position = start
        self.ring = Ring(start)
        try:
            await self._follow(start, facts.last)
        except BaseException:
            await self.close()
            raise

    async def _follow(self, start: int, until: int) -> None:
        self._tail = Tail(
            self.connection,
            self.stream,
            after=start,
            on_record=self._heard,
            on_replaced=lambda _: self._on_replaced(self),
        )
        await self._tail.start()
        await self._tail.reached(until, 30.0)
        self.fanout.flush()
        await self.early.open()

    async def close(self) -> None:
        self.fanout.flush()
        await self.early.close()
        tail, self._tail = self._tail, None
        if tail is not None:
            await tail.stop()

    @property
    def live(self) -> bool:
        return self._tail is not None and self._tail.live

    @property
    def cursor(self) -> str:
        return self.cursor_at(self.position)

    @property
    def extent(self) -> Extent:
        """What the log holds, as far as is known here."""
        return Extent(self.epoch, self.first, max(self.position, self.last_known))

    def cursor_at(self, sequence: int) -> str:
        return str(Cursor(self.epoch, sequence))

    async def survey(self) -> StreamFacts:
        """Ask the log how far it reaches."""
        facts = await describe(self.connection, self.stream)
        if self.epoch not in ("", facts.epoch):
            self._on_replaced(self)
        else:
            self.epoch, self.last_known = facts.epoch, facts.last
            self.first = max(facts.first, self.shed + 1)
            # With replicas the server refuses all but one of those that are under way behind one fence.
            self.fences = facts.config.get("num_replicas", 1) == 1
        return facts

    @property
    def lag(self) -> int:
        """How many positions the log is ahead, as far as is known here."""
        return max(0, self.last_known - self.position)

    async def refresh(self, context_id: str) -> int:
        """Ask the log's leader for the last event in a sidebar's life, before anybody is refused by it.

        Returns its position, 0 if there is none; what it says is known here by then.

        Raises:
            Unavailable: it cannot be asked now.
        """
        found = await last(self.connection, self.stream, life_of(self.group, context_id))
        if found is not None and found.sequence > self.position and self._tail is not None:
            await self._tail.reached(found.sequence, 5.0)
        return found.sequence if found is not None else 0

    async def catch_up(self) -> None:
        """Read everything that lies in the log by now. Raises Unavailable."""
        facts = await self.survey()
        if self._tail is not None:
            await self._tail.reached(facts.last, 5.0)

    async def since(self, moment: datetime) -> int:
        """The position of the first record stored then or later; behind the end if there is none."""
        found = await first_since(self.connection, self.stream, moment)
        return found.sequence if found is not None else self.extent.last + 1

    async def page(self, after: int, wanted: str, until: int) -> Page:
        """What the log holds in `(after, until]` on the subjects `wanted`. Raises Unavailable."""
        return await page(
            self.connection, self.stream, after, limit=PAGE, filter=wanted, until=until, max_bytes=PAGE_BYTES
        )

    def now(self) -> float:
        """The loop's time."""
        return asyncio.get_running_loop().time()

    def traits(self, event: Event) -> Traits:
        """By what somebody chooses whether to hear it; read once for everybody."""
        found = self._traits.get(event.sequence)
        if found is None:
            found = traits(event.to, event.rank, read_object(event.body))
            if len(self._traits) >= MOST_TRAITS:
                self._traits.clear()
            self._traits[event.sequence] = found
        return found

    def event(self, record: Record, found: Route) -> Event:
        """The record as it is sent from this log."""
        return event_of(record, found, self.epoch)

    def _heard(self, record: Record) -> None:
        """One record of the log, in order. Whatever is wrong with it, the next one still comes."""
        if record.sequence <= self.position:
            return
        try:
            if record.subject == shed_mark(self.group):
                self._shed(record)
            found = read(record)
            if found is not None:
                self._sample(record)
                self._pass_on(record, found)
                self.exchanges.heard(record, found.route.to, found.content)
        except Exception:
            log.exception("an event could not be passed on", group=self.group, sequence=record.sequence)
        self.position = record.sequence

    def _shed(self, record: Record) -> None:
        """What was said up to there goes: for whoever has not read so far, the log begins behind it."""
        self.shed = int(read_object(record.payload)["through"])
        self.first = max(self.first, self.shed + 1)

    def _pass_on(self, record: Record, found: Heard) -> None:
        where, content = found
        event = event_of(record, where, self.epoch)
        self.ring.append(event)
        if where.to.kind == "presence":
            self.states.heard(record, content)
        if where.alive is not None:
            self.fanout.move(event, where.alive, life_in(record))
        elif where.joins:
            self.fanout.coalesce(event, content)
        else:
            self.fanout.queue(event)

    def _sample(self, record: Record) -> None:
        """Now and then, measure how long ago an event was stored."""
        now = asyncio.get_running_loop().time()
        if now >= self._next_sample and self.fanout.listeners:
            self._next_sample = now + SAMPLED_EACH
            age = time.time() - datetime.fromisoformat(record.time).timestamp()
            self._metrics.delivery_seconds.observe(max(0.0, age))

    async def _read_lives(self, until: int) -> None:
        """Fold every sidebar's life up to `until`."""
        position = 0
        while position < until:
            found = await self.page(position, lives(self.group), until)
            for record in found.records:
                where = route(record.subject)
                if where is not None and where.alive is not None:
                    self.membership.fold(record.sequence, where.alive, life_in(record))
            position = found.last_sequence_scanned


def _depth(facts: StreamFacts) -> int:
    """How many positions back the ring is worth filling: no more than it can hold."""
    average = facts.bytes // max(facts.messages, 1)
    return min(MOST_EVENTS, MOST_BYTES // max(average, 1))
