"""Following a stream: every record behind a position, in order, once each, whatever happens to the server."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import pydantic_core

from backchannel.errors import BackchannelError, Unavailable
from backchannel.jetstream.answer import api
from backchannel.jetstream.connection import Connection, Subscription
from backchannel.jetstream.continuity import Continuity, Mark
from backchannel.jetstream.delivery import numbers_of, record_of
from backchannel.jetstream.head import read_head, status_of, status_text
from backchannel.jetstream.read import Record, StreamFacts, last
from backchannel.logger import Logger

log = Logger(__name__)

BATCH = 1000
REFILL = 500
PULL_BYTES = 8 << 20
"""Two pulls may be under way; their bytes stay well under what the server keeps for one client."""
EXPIRES = 30.0
HEARTBEAT = 1.0
SILENCE = 3.0
INACTIVE = 30.0
CHECK = 5.0
LOOK = 0.05
FIRST = 10.0


class Tail:
    """A follower with a cursor of its own over short-lived pull consumers.

    The consumer acknowledges nothing and remembers nothing of use: on any doubt (a status, a missing
    heartbeat, a hole in the consumer's own numbers, a reconnect) it is thrown away and a new one begins
    behind the last record handed over. Every few seconds the stream itself is looked at, because a stream
    that was made anew, or lost its end, answers an old position with silence. If that happens,
    `on_replaced` is told once and nothing is delivered any more.

    Args:
        after: the last position that need not be delivered; 0 begins with the first record.
        on_record: called for each record as it is read. If it raises, that is logged and the next one comes.
        filters: subjects wanted, none overlapping another; none means all.
        epoch: the life of the stream that `after` belongs to, if it is known.
        floor: asked whenever a consumer begins: what lies up to there is not wanted any more.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        *,
        after: int,
        on_record: Callable[[Record], None],
        filters: Sequence[str] = (),
        on_replaced: Callable[[StreamFacts], None] | None = None,
        epoch: str | None = None,
        floor: Callable[[], int] | None = None,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._filters = list(filters)
        self._on_record = on_record
        self._on_replaced = on_replaced
        self._floor = floor
        self._position = self._seen = after
        self._stored = 0
        self._continuity = Continuity(connection, stream, epoch)
        self._consumer = b""
        self._delivered = 0
        self._credit = 0
        self._subscription: Subscription | None = None
        self._loop = asyncio.get_running_loop()
        self._heard = 0.0
        self._doubt = asyncio.Event()
        self._moved = asyncio.Event()
        self._following = False
        self._replaced = False
        self._task: asyncio.Task[None] | None = None

    @property
    def position(self) -> int:
        """The last position of the stream that is known to be behind us."""
        return self._position

    @property
    def epoch(self) -> str | None:
        return self._continuity.epoch

    @property
    def live(self) -> bool:
        """Whether a consumer is running and has been heard of lately."""
        return self._following and self._loop.time() - self._heard < SILENCE + HEARTBEAT

    async def start(self, *, wait: float = FIRST) -> None:
        """Begin to follow. Returns once a consumer is running.

        Raises:
            NotFound: there is no such stream.
            Unavailable: the server did not answer within `wait` seconds.
        """
        end = self._loop.time() + wait
        while True:
            try:
                await self._begin()
                break
            except Unavailable:
                await self._end()
                if self._loop.time() >= end:
                    raise
                await asyncio.sleep(LOOK)
        self._connection.on_change(self._reconnected)
        self._task = self._loop.create_task(self._run(), name=f"tail {self._stream}")

    async def stop(self) -> None:
        """No record is delivered after this."""
        self._connection.forget_change(self._reconnected)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._end()

    async def reached(self, sequence: int, timeout: float) -> None:
        """Wait until everything up to `sequence` has been handed over.

        Raises:
            Unavailable: that took longer than `timeout` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                while self._position < sequence:
                    self._moved.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOOK):
                            await self._moved.wait()
                            continue
                    await self._look()
        except TimeoutError:
            raise Unavailable(
                f"The stream {self._stream} could not be read up to {sequence} in time.", retry_after=1.0
            ) from None

    def _reconnected(self, up: bool) -> None:
        if self._following or not up:
            self._doubt.set()
        self._following = self._following and up

    async def _run(self) -> None:
        """Keep a consumer alive; look after the stream."""
        checked = self._loop.time()
        while not self._replaced:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT):
                    await self._doubt.wait()
            try:
                if self._doubt.is_set() or self._loop.time() - self._heard > SILENCE:
                    await self._anew()
                elif self._loop.time() - checked > CHECK:
                    checked = self._loop.time()
                    await self._look()
            except Exception:
                log.exception("tail_failed", stream=self._stream, again_in=CHECK)
                await asyncio.sleep(CHECK)
                self._doubt.set()
        await self._end()

    async def _look(self) -> None:
        """See whether the stream is still the one, and move past what no filter matches."""
        try:
            facts = await self._survey()
            if facts is not None and facts.last > self._position and await self._has_all():
                self._position = max(self._position, facts.last)
                self._moved.set()
        except BackchannelError as error:
            log.warning("tail_check_failed", stream=self._stream, error=error.message)
            self._doubt.set()

    async def _has_all(self) -> bool:
        """Whether the newest record that our filters match has been handed over."""
        for wanted in self._filters or (">",):
            newest = await last(self._connection, self._stream, wanted)
            if newest is not None and newest.sequence > self._seen:
                return False
        return True

    async def _anew(self) -> None:
        """A new consumer behind the last record; again and again until there is one."""
        delay = LOOK
        while not self._replaced:
            await self._end()
            try:
                await self._begin()
                return
            except BackchannelError as error:
                log.warning("tail_interrupted", stream=self._stream, error=error.message)
            await asyncio.sleep(delay)
            delay = min(delay * 2, 1.0)

    async def _survey(self) -> StreamFacts | None:
        """What the stream holds; None if it is not the one we were reading, which is told then."""
        facts, goes_on = await self._continuity.judge(self._position, Mark(self._seen, self._stored))
        if goes_on:
            return facts
        if not self._replaced:
            log.error("stream_replaced", stream=self._stream, position=self._position, last=facts.last)
            self._replaced, self._following = True, False
            self._doubt.set()
            if self._on_replaced is not None:
                self._on_replaced(facts)
        return None

    async def _begin(self) -> None:
        self._doubt.clear()
        self._skip()
        if await self._survey() is None:
            return
        name = f"tail-{secrets.token_hex(8)}"
        body = {"stream_name": self._stream, "config": self._config(name)}
        await api(self._connection, f"CONSUMER.CREATE.{self._stream}.{name}", body)
        self._consumer = name.encode()
        self._delivered = 0
        self._credit = 0
        self._subscription = self._connection.listen(self._connection.fresh_inbox(), self._arrived)
        self._heard = self._loop.time()
        self._pull()
        self._following = True

    def _skip(self) -> None:
        """Leave out what lies up to the floor; a consumer of few subjects need not search all that again."""
        floor = self._seen if self._floor is None else self._floor()
        if floor > self._seen:
            self._position, self._seen, self._stored = max(self._position, floor), floor, 0

    def _config(self, name: str) -> dict[str, Any]:
        filters = {"filter_subjects": self._filters} if self._filters else {}
        return {
            "name": name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self._seen + 1,
            "ack_policy": "none",
            "inactive_threshold": int(INACTIVE * 1e9),
            "mem_storage": True,
            "num_replicas": 1,
            "max_waiting": 8,
            **filters,
        }

    async def _end(self) -> None:
        self._following = False
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
        consumer, self._consumer = self._consumer.decode(), b""
        if consumer and self._connection.up:
            try:
                await api(self._connection, f"CONSUMER.DELETE.{self._stream}.{consumer}", timeout=1.0)
            except BackchannelError as error:  # it goes by itself when nobody pulls from it
                log.debug("tail_consumer_left", stream=self._stream, error=error.message)

    def _pull(self) -> None:
        """Ask for more, so that the server never waits for us."""
        if self._subscription is None:
            return
        wanted = {
            "batch": BATCH,
            "max_bytes": PULL_BYTES,
            "expires": int(EXPIRES * 1e9),
            "idle_heartbeat": int(HEARTBEAT * 1e9),
        }
        self._connection.emit(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer.decode()}",
            pydantic_core.to_json(wanted),
            reply=self._subscription.subject,
        )
        self._credit += BATCH

    def _arrived(self, subject: bytes, reply: bytes, head: bytes, payload: bytes) -> None:
        self._heard = self._loop.time()
        numbers = numbers_of(reply)
        if numbers is None:
            self._told(head)
            return
        if numbers.consumer != self._consumer or self._doubt.is_set():
            return
        if numbers.number != self._delivered + 1 or numbers.sequence <= self._seen:
            self._doubt.set()
            return
        self._delivered, self._seen, self._stored = numbers.number, numbers.sequence, numbers.stored
        try:
            self._on_record(record_of(numbers, subject, head, payload))
        except Exception:
            log.exception("record_observer_failed", stream=self._stream, sequence=numbers.sequence)
        self._position = max(self._position, numbers.sequence)
        self._moved.set()
        self._spend(1)

    def _told(self, head: bytes) -> None:
        """A status. A pull that ends gives back what it did not bring; all else but a heartbeat is doubt."""
        headers = read_head(head) or {}
        match status_of(head), status_text(head):
            case 100, _:
                if int(headers.get("Nats-Last-Consumer", 0)) > self._delivered:
                    self._doubt.set()
            case (404 | 408, _) | (409, "Batch Completed" | "Message Size Exceeds MaxBytes"):
                self._spend(int(headers.get("Nats-Pending-Messages", 0)))
            case _:
                self._doubt.set()

    def _spend(self, count: int) -> None:
        self._credit -= count
        if self._credit > REFILL or self._doubt.is_set():
            return
        try:
            self._pull()
        except BackchannelError:
            self._doubt.set()
