"""The feed of one group: one tail over its log, and every event to those who may hear it, at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import structlog

from backchannel.delivery.audience import Life, Membership, life
from backchannel.delivery.coalesce import Pace, strand_of
from backchannel.delivery.cursor import Cursor, Extent
from backchannel.delivery.traits import Traits, traits
from backchannel.domain.settings import USUAL, Settings
from backchannel.errors import BackchannelError
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.read import Page, Record, StreamFacts, describe, first_since, last, page
from backchannel.jetstream.tail import Tail
from backchannel.protocol.catalog import read_object
from backchannel.protocol.lane import NEVER_DROPPED, RANK, Lane
from backchannel.protocol.subject import Destination, InContext, events_stream, life_of, lives, locate
from bridge.exchanges import Exchanges
from bridge.framing import frame
from bridge.listeners import Listener, Listeners, key_of
from bridge.metrics import Metrics
from bridge.ring import MOST_BYTES, MOST_EVENTS, Event, Ring
from bridge.states import States

log = structlog.get_logger("bridge.feed")
URGENT = len(NEVER_DROPPED)
"""Ranks below this overtake a catch-up."""

PAGE = 500
PAGE_BYTES = 1 << 20
SAMPLED_EACH = 0.1
MOST_HELD = 1_000
"""Events that wait to be coalesced, at most."""

MOST_TRAITS = 4_096
"""Events whose traits are remembered, for the connections that choose by them."""


class Route(NamedTuple):
    """Where a subject leads: to whom, under which key and rank, whether it is a sidebar's life, and whether
    what lies there may be coalesced."""

    to: Destination
    key: str
    rank: int
    alive: str | None
    joins: bool


@lru_cache(maxsize=16_384)
def route(subject: str) -> Route | None:
    located = locate(subject)
    if located is None:
        return None
    to = located.to
    alive = to.context_id if isinstance(to, InContext) and to.kind == "life" else None
    joins = to.kind in ("memory", "presence")
    return Route(to, key_of(to), RANK.get(located.lane, RANK[Lane.NORMAL]), alive, joins)


class Returning(Listener, Protocol):
    """A connection that catches up; what is urgent does not wait for that."""

    def overtake(self, event: Event) -> bool: ...


class Feed:
    """Everything a bridge knows of one group's log. Synchronous but for its opening and closing.

    What it relies on: the index of listeners changes only when nothing is pending, so whoever joins after
    reading the ring up to `position` hears exactly what comes after it.
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
        self.last_known = 0
        self.position = 0
        self.membership = Membership()
        self.listeners = Listeners()
        self.returning: dict[Listener, Returning] = {}
        self.exchanges = Exchanges(self.membership)
        self.ring = Ring(0)
        self.states = States()
        self._metrics = metrics
        self._on_replaced = on_replaced
        self._next_sample = 0.0
        self._settings = settings
        self._pending: list[Event] = []
        self._flushing = False
        self._timer: asyncio.TimerHandle | None = None
        self._pace = Pace()
        self._traits: dict[int, Traits] = {}
        self._tail: Tail | None = None

    async def open(self) -> None:
        """Read who is in which sidebar, fill the ring, and go on from there.

        Raises:
            Unavailable: the log cannot be read now.
        """
        facts = await self.survey()
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
        self.flush()

    async def close(self) -> None:
        self.flush()
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
            self.epoch, self.first, self.last_known = facts.epoch, facts.first, facts.last
        return facts

    def join(self, listener: Listener) -> None:
        """Let it hear everything after `position`. The ring must have been read in this same turn."""
        self.flush()
        self.returning.pop(listener, None)
        self.listeners.add(listener, set(self.membership.contexts_of(listener.agent)))

    def part(self, listener: Listener) -> None:
        """Let it hear nothing any more, whether it was live or on its way there."""
        self.returning.pop(listener, None)
        self.listeners.remove(listener, set(self.membership.contexts_of(listener.agent)))

    @property
    def lag(self) -> int:
        """How many positions the log is ahead, as far as is known here."""
        return max(0, self.last_known - self.position)

    async def refresh(self, context_id: str) -> None:
        """Ask the log's leader for the last event in a sidebar's life, before anybody is refused by it.

        Raises:
            Unavailable: it cannot be asked now.
        """
        found = await last(self.connection, self.stream, life_of(self.group, context_id))
        if found is not None and found.sequence > self.position and self._tail is not None:
            await self._tail.reached(found.sequence, 5.0)

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
        """The record as it is sent: its stored bytes, with the cursor spliced in before the last brace."""
        cursor = b',"cursor":"%s.%d"}' % (self.epoch.encode(), record.sequence)
        body = record.payload[:-1] + cursor
        framed = frame(body)
        return Event(record.sequence, found.to, found.key, found.rank, framed, len(framed) - len(body))

    def readable(self, record: Record) -> Route | None:
        """Where a record leads, or None if it is not an event for anybody."""
        found = self._read(record)
        return None if found is None else found[0]

    def _read(self, record: Record) -> tuple[Route, dict[str, Any]] | None:
        found = route(record.subject)
        if found is None:
            return None
        content = _message(record.payload)
        if content is None:
            log.warning("what lies there is no message", subject=record.subject, sequence=record.sequence)
            return None
        return found, content

    def flush(self) -> None:
        """Hand on what came in during this turn of the loop, and what waits to be coalesced."""
        self._flushing = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        events, self._pending = self._pending, []
        if not events:
            return
        for listener, heard, frames in self.listeners.share(events):
            try:
                listener.hear(heard, frames)
            except Exception:
                _give_up(listener)
        if self.returning:
            self._overtake([event for event in events if event.rank < URGENT])

    def _heard(self, record: Record) -> None:
        """One record of the log, in order. Whatever is wrong with it, the next one still comes."""
        if record.sequence <= self.position:
            return
        try:
            found = self._read(record)
            if found is not None:
                self._sample(record)
                self._pass_on(self.event(record, found[0]), record, *found)
                self.exchanges.heard(record, found[0].to, found[1])
        except Exception:
            log.exception("an event could not be passed on", group=self.group, sequence=record.sequence)
        self.position = record.sequence

    def _pass_on(self, event: Event, record: Record, found: Route, content: dict[str, Any]) -> None:
        self.ring.append(event)
        if found.to.kind == "presence":
            self.states.heard(record, content)
        if found.alive is not None:
            self._pass_on_life(event, record, found.alive)
        elif found.joins and (window := self._settings().coalesce.window):
            self._coalesce(event, content, window)
        else:
            self._queue(event)

    def _pass_on_life(self, event: Event, record: Record, context_id: str) -> None:
        """Who comes in hears it, and who goes out does too."""
        change = self.membership.fold(record.sequence, context_id, _life(record))
        if not change.joined and not change.left:
            self._queue(event)
            return
        self.flush()
        self.listeners.enter(change.joined, context_id)
        self._pending.append(event)
        self.flush()
        self.listeners.leave(change.left, context_id)

    def _queue(self, event: Event) -> None:
        self._pending.append(event)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def _coalesce(self, event: Event, content: dict[str, Any], window: float) -> None:
        """The first update of a quiet strand goes at once. What follows soon waits for more, until anything
        else happens: nobody hears it later than what came after it."""
        strand = strand_of(traits(event.to, event.rank, content))
        if strand is None:
            self._queue(event)
            return
        event, now = event._replace(strand=strand), self.now()
        until = self._pace.wait_until(strand, now, window)
        if until is None or self._flushing or len(self._pending) >= MOST_HELD:
            self._pace.gave(strand, now)
            self._queue(event)
            return
        self._pending.append(event)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(until, self._end_window)

    def _end_window(self) -> None:
        now = self.now()
        for strand in {event.strand for event in self._pending}:
            if strand is not None:
                self._pace.gave(strand, now)
        self.flush()

    def _sample(self, record: Record) -> None:
        """Now and then, measure how long ago an event was stored."""
        now = asyncio.get_running_loop().time()
        if now >= self._next_sample and self.listeners:
            self._next_sample = now + SAMPLED_EACH
            age = time.time() - datetime.fromisoformat(record.time).timestamp()
            self._metrics.delivery_seconds.observe(max(0.0, age))

    def _overtake(self, urgent: list[Event]) -> None:
        for event in urgent:
            for peer in tuple(self.returning.values()):
                if not self.membership.sees(peer.agent, event.to, event.sequence, peer.access):
                    continue
                try:
                    peer.overtake(event)
                except Exception:
                    _give_up(peer)

    async def _read_lives(self, until: int) -> None:
        """Fold every sidebar's life up to `until`."""
        position = 0
        while position < until:
            found = await self.page(position, lives(self.group), until)
            for record in found.records:
                where = route(record.subject)
                if where is not None and where.alive is not None:
                    self.membership.fold(record.sequence, where.alive, _life(record))
            position = found.last_sequence_scanned


def _give_up(listener: Listener) -> None:
    """Whatever is wrong with one listener must not reach another. Called where the exception was caught."""
    log.exception("a listener failed", agent=listener.agent)
    listener.fail()


def _depth(facts: StreamFacts) -> int:
    """How many positions back the ring is worth filling: no more than it can hold."""
    average = facts.bytes // max(facts.messages, 1)
    return min(MOST_EVENTS, MOST_BYTES // max(average, 1))


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


def _life(record: Record) -> Life:
    try:
        return life(read_object(record.payload))
    except BackchannelError:
        log.warning("an event in a sidebar's life cannot be read", subject=record.subject)
        return Life(None, None)
