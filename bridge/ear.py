"""The ear: what one connection hears, in which order, and how much may wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

import pydantic_core

from backchannel.delivery.acknowledgement import Ahead
from backchannel.delivery.outbox import Bounds, Outbox
from backchannel.delivery.quality import Preference
from backchannel.protocol.frame import CloseCode, Subscription
from bridge.feed import Feed
from bridge.framing import frame
from bridge.metrics import Metrics
from bridge.ring import Event
from bridge.valve import Valve
from bridge.weave import woven
from bridge.wire import Wire

MOST_OVERTAKEN = 10_000
MOST_AHEAD = 4 << 20
"""Bytes waiting at which even what is urgent no longer overtakes a catch-up."""

FAULT = 1011
CALM = 32 << 10
"""Bytes waiting up to which history that was asked for is added; what happens now must not wait for it."""

CALM_LOOK = 0.02


class Ear:
    """The hearing half of a connection. While the line is free, an event is one reference to a shared frame;
    lanes, and everything else that costs, begin when the line is congested. `delivered` counts events,
    `dropped` those that were left out, by lane.

    Args:
        on_end: called with a close code and a reason when the connection must end.
    """

    def __init__(
        self,
        wire: Wire,
        feed: Feed,
        metrics: Metrics,
        bounds: Bounds,
        on_end: Callable[[int, str], None],
        *,
        agent: str,
        access: Collection[str],
    ) -> None:
        self.agent = agent
        self.access = frozenset(access)
        self.overtaken: set[int] = set()
        self._in_turn = 0
        self.delivered = 0
        self.dropped: dict[str, int] = {}
        self._wire = wire
        self._feed = feed
        self._metrics = metrics
        self._bounds = bounds
        self._on_end = on_end
        self._position = 0
        self._ahead = Ahead()
        self._valve: Valve | None = None
        self._outbox: Outbox[Event] | None = None
        self._draining = False
        self._closed = False
        self._writable: set[asyncio.Future[None]] = set()

    @property
    def contiguous(self) -> int:
        """The position up to which everything was sent, or reported as left out, or not wanted."""
        position = self._position
        if self._outbox is not None and self._outbox.lowest is not None:
            position = min(position, self._outbox.lowest - 1)
        if self._valve is not None and self._valve.lowest is not None:
            position = min(position, self._valve.lowest - 1)
        return position

    def received(self, sequence: int) -> int:
        """How far a client that acknowledges `sequence` surely has everything."""
        return min(self.contiguous, self._ahead.surely(sequence))

    def acknowledged(self, position: int) -> None:
        """The client has everything up to there."""
        self._ahead.forget(position)

    # ---- live

    def hear(self, events: Sequence[Event], frames: bytes) -> None:
        """Events that happen now, in log order, and their joined frames."""
        if self._closed:
            return
        position = self._position
        self._position = max(position, events[-1].sequence)
        if self.overtaken or events[0].sequence <= position:  # never twice, whatever went wrong elsewhere
            events = [one for one in events if one.sequence > position and one.sequence not in self.overtaken]
            frames = woven(events)
            self._forget_overtaken()
            if not events:
                return
        if self._valve is not None:
            self._sift(self._valve, events)
        elif self._free:
            self._send(frames, len(events))
        else:
            self._queue(events)

    def fail(self) -> None:
        """A mistake of ours; nothing is heard any more."""
        self._on_end(FAULT, "The bridge made a mistake.")

    def grant(self, access: Collection[str]) -> None:
        """Hear these sidebars from now on, beside those it is in."""
        live = self in self._feed.fanout.listeners
        if live:
            self._feed.fanout.flush()
            self._feed.fanout.part(self)
        self.access = frozenset(access)
        if live:
            self._feed.fanout.join(self)

    def writable(self) -> None:
        """The line is free again."""
        self._drain()
        self._give_due()
        self._tell_waiting()

    def close(self) -> None:
        """The connection has gone."""
        self._closed = True
        if self._outbox is not None:
            self._metrics.outbox.dec(len(self._outbox))
            self._outbox = None
        self._tell_waiting()

    # ---- choosing

    def tune(self, said: Subscription, wish: Preference | None) -> None:
        """From the next event on this is what it wants, and how on a slow line."""
        self._feed.fanout.flush()
        self._opened_valve().tune(said, wish)
        self._give_due()

    def warm_up(self, stages: Sequence[float]) -> None:
        """It has never been here before: let it begin slowly."""
        self._opened_valve().warm_up(stages)

    def look(self, round_trip: float) -> None:
        """About once a second: how the line does, and what of all that was held back is due."""
        if self._valve is not None:
            waiting = self._wire.waiting
            self._valve.look(self._wire.written - waiting, waiting, round_trip)
            self._give_due()

    def wants(self, event: Event) -> bool:
        return self._valve is None or self._valve.wants(event)

    def _opened_valve(self) -> Valve:
        if self._valve is None:
            self._valve = Valve(self.agent, self._feed, self._bounds)
        return self._valve

    def _sift(self, valve: Valve, events: Sequence[Event]) -> None:
        passing = valve.sift(events)
        if not passing:
            pass
        elif self._free:
            self._send(valve.frames(passing), len(passing))
        else:
            self._queue(passing)
        self._give_due()

    def _give_due(self) -> None:
        """Give what was held back and is due, as long as the line takes it."""
        valve = self._valve
        while valve is not None and self._free and self._wire.waiting < self._bounds.at_once:
            found = valve.due()
            if found is None:
                break
            body, count = found
            self.delivered += count
            self._metrics.delivered.inc(count)
            self._wire.send(body)
        if valve is not None and valve.idle:
            self._valve = None
        elif valve is not None and valve.overfull:
            self._give_up_on()

    # ---- overtaking, and catching up

    def overtake(self, event: Event) -> bool:
        """An urgent event before its turn: it does not wait, and is left out when its turn comes.

        False when there is no room for that: then it comes in its turn, and so does all that follows, or
        what is urgent would overtake what is just as urgent.
        """
        if event.sequence <= self._position or event.sequence in self.overtaken:
            return True
        live = self in self._feed.fanout.listeners
        room = len(self.overtaken) < MOST_OVERTAKEN and (live or self._wire.waiting < MOST_AHEAD)
        if self._in_turn > self._position or not room or self._closed:
            self._in_turn = max(self._in_turn, event.sequence)
            return False
        self.overtaken.add(event.sequence)
        if live and not self._free:
            self._queue([event])
        else:
            self._ahead.note(event.sequence, self.contiguous)
            self._send(self._frame(event), 1)
        return True

    def _frame(self, event: Event) -> bytes:
        """As it is sent now: if older ones are still to come, its cursor says up to where all was given."""
        given = self.contiguous
        return event.frame if given >= event.sequence - 1 else frame(event.overtaking(given))

    def _forget_overtaken(self) -> None:
        """The turn of all up to here has come."""
        self.overtaken = {sequence for sequence in self.overtaken if sequence > self._position}

    def catch_up(self, events: Sequence[Event], remaining: int) -> None:
        """Events that happened before now; ``remaining`` are still to come."""
        if self._valve is not None:
            events = self._valve.sift(events, history=True)
            if not events:
                return
        self._metrics.caught_up.inc(len(events))
        self.delivered += len(events)
        joined = b",".join([self._body(event) for event in events])
        self._wire.send(b'{"type":"catch_up","events":[%s],"remaining":%d}' % (joined, remaining))

    def _body(self, event: Event) -> bytes:
        return event.body if self._valve is None else self._valve.body(event)

    def give(self, body: bytes) -> None:
        """A frame of history that was asked for: it counts for no position."""
        self._wire.send(body)

    def caught_up(self, position: int) -> None:
        self._position = max(self._position, position)

    def go_live(self) -> None:
        """Catching up is over."""
        self._forget_overtaken()

    async def drained(self) -> None:
        """Wait until the line takes more.

        Raises:
            ConnectionError: it has gone.
        """
        await asyncio.sleep(0)
        while self._wire.paused and not self._closed:
            await self._until_writable()
        self._require_here()

    async def calm(self) -> None:
        """Wait until next to nothing waits here. Raises ConnectionError as `drained`."""
        await self.drained()
        while not self._closed and (self._outbox is not None or self._wire.waiting > CALM):
            await self._a_moment()
        self._require_here()

    async def _a_moment(self) -> None:
        await asyncio.sleep(CALM_LOOK)

    async def _until_writable(self) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._writable.add(waiting)
        try:
            await waiting
        finally:
            self._writable.discard(waiting)

    def _tell_waiting(self) -> None:
        for waiting in self._writable:
            if not waiting.done():
                waiting.set_result(None)

    def _require_here(self) -> None:
        if self._closed or self._wire.closing:
            raise ConnectionError("The connection has gone.")

    # ---- continuity

    def position(self) -> None:
        """Say how far this connection has got; a congested one is told when it has been given more."""
        if self._free and not self._closed:
            cursor = self._feed.cursor_at(self.contiguous).encode()
            said = b'{"type":"position","cursor":"%s","delivered":%d}' % (cursor, self.delivered)
            self._wire.send(said)

    # ---- congested

    def _queue(self, events: Sequence[Event]) -> None:
        outbox = self._outbox or Outbox[Event](self._bounds)
        before = len(outbox)
        for event in events:
            outbox.push(event)
        self._outbox = outbox
        self._metrics.outbox.inc(len(outbox) - before)
        if outbox.hopeless:
            self._give_up_on()

    @property
    def _free(self) -> bool:
        return self._outbox is None and not self._wire.paused

    def _give_up_on(self) -> None:
        self.close()
        self._on_end(CloseCode.TOO_SLOW, "too slow: come back and catch up from the log")

    def _drain(self) -> None:
        """Send what waited: first what was left out, then lane by lane, a stretch in each turn."""
        self._draining = False
        outbox = self._outbox
        if outbox is None or self._wire.paused:
            return
        self._report(outbox)
        frames, count, length = [], 0, 0
        while length < self._bounds.at_once and (event := outbox.pop()) is not None:
            self._ahead.note(event.sequence, self.contiguous)
            frames.append(self._frame(event))
            length += event.size
            count += 1
        self._metrics.outbox.dec(count)
        self._send(b"".join(frames), count)
        self._outbox = outbox if len(outbox) else None
        if self._outbox is not None and not self._draining:
            self._draining = True
            asyncio.get_running_loop().call_soon(self._drain)

    def _report(self, outbox: Outbox[Event]) -> None:
        missed = outbox.left_out()
        if missed is None:
            return
        for lane, count in missed.by_lane.items():
            self.dropped[lane] = self.dropped.get(lane, 0) + count
            self._metrics.dropped.labels(lane).inc(count)
        said = {
            "type": "gap",
            "from": self._feed.cursor_at(missed.first),
            "to": self._feed.cursor_at(missed.last),
            "dropped": missed.count,
            "by_lane": missed.by_lane,
            "spans": {lane: list(map(self._feed.cursor_at, span)) for lane, span in missed.spans.items()},
        }
        self._wire.send(pydantic_core.to_json(said))

    def _send(self, frames: bytes, count: int) -> None:
        self.delivered += count
        self._metrics.delivered.inc(count)
        self._wire.send_frames(frames)
