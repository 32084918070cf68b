"""The voice: what one connection has stored and asks, so much at a time as is good for everybody."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from backchannel.delivery.effect import Ask, Keep
from backchannel.delivery.session import duplicate_ack, reply_id
from backchannel.errors import BackchannelError, QueueFull
from backchannel.jetstream.publish import Stored
from backchannel.protocol.catalog import AnyMessage
from backchannel.protocol.message import Way
from bridge.door import Caller
from bridge.wire import Wire

if TYPE_CHECKING:
    from bridge.house import House
    from bridge.peer import Peer

IN_FLIGHT = 64
"""Messages of one connection that may be on their way to the log,"""

QUERIES = 8
"""and its queries that may be unanswered."""

MOST_REPLIES = 1 << 20
"""Bytes waiting at which nothing more is read: whoever does not listen need not speak."""

PATIENCE = 60.0
"""Seconds for which a client may leave its answers unread."""


class Voice:
    """The speaking half of a connection. When it has to wait for anything, nothing more is read from the
    socket: the client feels it, and nothing piles up here."""

    def __init__(self, wire: Wire, house: House, peer: Peer) -> None:
        self._wire = wire
        self._house = house
        self._peer = peer
        self._postponed: Keep | None = None
        self._in_flight = 0
        self._queries = 0
        self._busy = 0
        self._held_since: float | None = None

    def keep(self, wanted: Keep) -> None:
        """Offer a message at the door, as soon as there is a free slot."""
        if self._house.freshness.stale:
            self.alone(self._keep_late(wanted))
            return
        if self._in_flight >= IN_FLIGHT or not self._house.slots.free_for(self):
            self._postponed = wanted
            self._wire.pause_reading()
            return
        in_reply_to = reply_id(wanted.content) or str(wanted.message.message_id)
        began = self._house.loop.time()
        self._in_flight += 1

        def answer(outcome: Stored | BackchannelError) -> None:
            self._in_flight -= 1
            self._house.metrics.accept_seconds.observe(self._house.loop.time() - began)
            self._answer(outcome, in_reply_to, wanted.message)
            self.read_on()
            self._house.slots.freed()

        try:
            slow = self._house.door.offer(self._caller(), wanted.content, wanted.message, answer)
        except BackchannelError as error:
            self._in_flight -= 1
            self._peer.refuse(error, in_reply_to)
            return
        if slow is not None:
            self.alone(slow)

    async def _keep_late(self, wanted: Keep) -> None:
        """The bridge was stopped between reading this and offering it."""
        await self._house.freshness.wait()
        self.keep(wanted)

    def ask(self, wanted: Ask) -> None:
        """Forward a query; several may be under way."""
        if self._queries >= QUERIES:
            error = QueueFull(f"At most {QUERIES} queries at a time; wait for an answer.", retry_after=0.5)
            self._peer.refuse(error, wanted.in_reply_to)
            return
        self._queries += 1
        self._peer.run(self._put(wanted))

    def alone(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that takes a while; nothing more is read until it is done."""
        self._busy += 1
        self._wire.pause_reading()
        self._peer.run(self._then_read_on(work))

    def hold_back(self) -> None:
        """Read no more from a client that does not read its answers."""
        if self._wire.waiting > MOST_REPLIES:
            self._wire.pause_reading()
            self._held_since = self._held_since or self._house.loop.time()

    @property
    def hopeless(self) -> bool:
        """It has not read its answers for so long that it will not. Nobody hears its heartbeat meanwhile."""
        since = self._held_since
        return since is not None and self._house.loop.time() - since > PATIENCE

    def read_on(self) -> None:
        """Take what was postponed, then the next message, unless there is a reason to wait."""
        if self._peer.gone or self._busy or self._in_flight >= IN_FLIGHT or self._wire.waiting > MOST_REPLIES:
            return
        self._held_since = None
        postponed, self._postponed = self._postponed, None
        if postponed is not None:
            self.keep(postponed)
        if self._postponed is None and not self._busy:
            self._wire.resume_reading()

    def _answer(self, outcome: Stored | BackchannelError, in_reply_to: str, message: AnyMessage) -> None:
        match outcome:
            case BackchannelError():
                self._peer.refuse(outcome, in_reply_to)
            case Stored(duplicate=True):
                self._house.metrics.duplicates.inc()
                self._peer.say(duplicate_ack(in_reply_to))
            case Stored(sequence=sequence):
                feed = self._caller().feed
                cursor = feed.cursor if message.way is Way.STATEFUL else feed.cursor_at(sequence)
                self._peer.say({"type": "accepted", "in_reply_to": in_reply_to, "cursor": cursor})

    def _caller(self) -> Caller:
        claims, feed = self._peer.session.claims, self._peer.feed
        assert feed is not None and claims is not None
        return Caller(claims, feed)

    async def _put(self, wanted: Ask) -> None:
        claims = self._peer.session.claims
        assert claims is not None
        try:
            if wanted.query.query == "wait_for":
                found = await self._house.waiting.wait(claims, self._caller().feed, wanted.query.params)
            else:
                found = await self._house.question.ask(claims, wanted.query)
        except BackchannelError as error:
            self._peer.refuse(error, wanted.in_reply_to)
        else:
            told = {"type": "result", "in_reply_to": wanted.in_reply_to}
            self._peer.say({"status": "success", **found, **told})
        finally:
            self._queries -= 1

    async def _then_read_on(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            self._busy -= 1
            self.read_on()
