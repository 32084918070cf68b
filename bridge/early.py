"""The early lane of a group's feed: emergencies that its tail has not come to yet, given at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from backchannel.jetstream.read import Record
from backchannel.jetstream.tail import Tail
from backchannel.protocol.subject import emergencies_in
from bridge.listeners import Listener
from bridge.reading import readable
from bridge.ring import Event

if TYPE_CHECKING:
    from bridge.feed import Feed

GRACE = 0.02
"""Seconds in which the tail may come to an emergency by itself; then it goes ahead."""

FORGOTTEN_AFTER = 1.0
MOST_EVENTS = 1_000
MOST_BYTES = 16 << 20
"""What may be ahead of the tail, in events and bytes; beyond, emergencies wait for their turn."""


class Early:
    """A second tail over the two top lanes alone. While the first does not lag, it comes to every emergency
    by itself, and nothing happens here. What goes ahead comes to the ring and to all else in its turn."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._tail: Tail | None = None
        self._waiting: list[Record] = []
        self._given: list[Event] = []
        self._length = 0
        self._shut = 0  # what lies up to there comes in its turn, so that nothing just as urgent overtakes it
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Begin where the tail stands. Raises Unavailable."""
        feed = self._feed
        self._tail = Tail(
            feed.connection,
            feed.stream,
            after=feed.position,
            on_record=self.came,
            filters=emergencies_in(feed.group),
            epoch=feed.epoch,
            floor=lambda: feed.position,
        )
        await self._tail.start()

    async def close(self) -> None:
        tail, self._tail = self._tail, None
        if self._timer is not None:
            self._timer.cancel()
        if tail is not None:
            await tail.stop()

    def came(self, record: Record) -> None:
        """An emergency; perhaps the tail is there already, or will be in a moment."""
        if record.sequence <= self._feed.position:
            return
        full = len(self._waiting) + len(self._given) >= MOST_EVENTS or self._length >= MOST_BYTES
        if full or self._shut > self._feed.position:
            self._shut = record.sequence
            return
        self._waiting.append(record)
        self._length += len(record.payload)
        if len(self._waiting) == 1:
            self._look_in(GRACE)

    def offer(self, listener: Listener) -> None:
        """Somebody has just come: what went ahead goes ahead for it, too."""
        for event in self._given:
            if self._feed.membership.sees(listener.agent, event.to, event.sequence):
                listener.overtake(event)

    def _look_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.look)

    def look(self) -> None:
        """Give what the tail has not come to, and forget what it has."""
        feed, waiting = self._feed, self._waiting
        self._waiting = []
        self._given = [event for event in self._given if event.sequence > feed.position]
        for record in waiting:
            found = readable(record) if record.sequence > feed.position else None
            if found is not None:
                self._given.append(feed.event(record, found))
                feed.fanout.send_ahead(self._given[-1])
        self._length = sum(event.size for event in self._given)
        if self._given:
            self._look_in(FORGOTTEN_AFTER)
