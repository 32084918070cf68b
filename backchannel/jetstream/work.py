"""Taking work from a stream: a durable consumer with explicit acknowledgement."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Sequence
from typing import Any

import pydantic_core

from backchannel.errors import BackchannelError, NotFound, Unavailable
from backchannel.jetstream.answer import api
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.delivery import numbers_of, record_of
from backchannel.jetstream.head import status_of, status_text
from backchannel.jetstream.record import Record
from backchannel.logger import Logger

log = Logger(__name__)

ACK_WAIT = 5.0
BEATS = 2.5
"""How often we say that we still work on something, while the server waits for a word."""
BATCH = 32
"""Messages that one pull may bring where only one is in hand at a time. Elsewhere it brings one: what is in
hand when the server dies cannot be settled, and each of those would be waited for."""
EXPIRES = 10.0
HEARTBEAT = 1.0
SILENCE = 3.0
CONFIRM = 2.0
DEADLINE = 15.0
PAUSE = 0.1
LONGEST_PAUSE = 2.0


class Delivery:
    """One message to be worked on, for the `attempt`-th time (from 1). Say one of the final words on it.

    Until then the server is told every `beat` seconds that it is being worked on. `behind` is how many
    wait behind it.
    """

    def __init__(
        self,
        connection: Connection,
        record: Record,
        attempt: int,
        reply: str,
        beat: float = ACK_WAIT / BEATS,
        behind: int = 0,
    ) -> None:
        self.behind = behind
        self.record = record
        self.attempt = attempt
        self._connection = connection
        self._reply = reply
        self._every = beat
        self._loop = asyncio.get_running_loop()
        self._beat: asyncio.TimerHandle | None = self._loop.call_later(beat, self._still_working)

    async def settle(self) -> None:
        """It is done. Confirmed by the server; if that fails it comes again: doing it must hold twice."""
        await self._finish(b"+ACK")

    async def retry(self, delay: float) -> None:
        """It comes again after `delay` seconds."""
        await self._finish(b"-NAK " + pydantic_core.to_json({"delay": int(delay * 1e9)}))

    async def discard(self, reason: str) -> None:
        """It never comes again, although it was not done."""
        await self._finish(b"+TERM " + reason.encode())

    async def _finish(self, word: bytes) -> None:
        self.let_go()
        clock = asyncio.get_running_loop().time
        end = clock() + DEADLINE
        while clock() < end:
            try:
                await self._connection.request(self._reply, word, timeout=CONFIRM)
                return
            except Unavailable:
                await asyncio.sleep(PAUSE)
        log.warning("settlement_unconfirmed", sequence=self.record.sequence)

    def let_go(self) -> None:
        """Say nothing more about it; after a while it comes again."""
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None

    def _still_working(self) -> None:
        """Put off the moment at which the server gives it to somebody else."""
        self._beat = self._loop.call_later(self._every, self._still_working)
        try:
            self._connection.emit(self._reply, b"+WPI")
        except Unavailable as error:
            log.debug("still_working_unsaid", error=error.message)


class Work:
    """A durable consumer that any number of processes may share. Make it with `open`."""

    def __init__(self, connection: Connection, stream: str, name: str, config: dict[str, Any]) -> None:
        self._connection = connection
        self._stream = stream
        self._name = name
        self._config = config
        self._beat = config["ack_wait"] / 1e9 / BEATS
        self._numbers = itertools.count(1)
        self._ready: deque[Delivery] = deque()  # never more than the pulls under way may bring
        self._pull = b""  # the number of the pull under way, and how many messages it may still bring
        self._left = 0
        self._batch = BATCH if config["max_ack_pending"] == 1 else 1
        self._status: bytes | None = None
        self._heard = asyncio.Event()
        self._inbox = connection.fresh_inbox()
        self._subscription = connection.listen(f"{self._inbox}.*", self._arrived)
        connection.on_change(self._changed)

    @classmethod
    async def open(
        cls,
        connection: Connection,
        stream: str,
        name: str,
        filters: Sequence[str],
        *,
        max_ack_pending: int,
        ack_wait: float = ACK_WAIT,
    ) -> Work:
        """Create the consumer, or bring it up to date; several may do so at once.

        Raises:
            NotFound: there is no such stream.
            Unavailable: no answer.
        """
        config: dict[str, Any] = {
            "durable_name": name,
            "name": name,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": int(ack_wait * 1e9),
            "max_deliver": -1,
            "max_ack_pending": max_ack_pending,
            "max_waiting": 128,
            "filter_subjects": list(filters),
        }
        work = cls(connection, stream, name, config)
        try:
            await work._create()
        except BaseException:
            await work.close()
            raise
        return work

    async def take(self) -> Delivery:
        """The next message; waits for it as long as it takes, through outages."""
        pause = PAUSE
        while not self._ready:
            try:
                await self._ask()
                pause = PAUSE
            except NotFound:
                await self._restore()
            except BackchannelError as error:
                log.warning("work_interrupted", consumer=self._name, error=error.message)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        return self._ready.popleft()

    async def close(self) -> None:
        """What was taken and not settled comes again, to whoever asks."""
        self._connection.forget_change(self._changed)
        self._subscription.close()
        while self._ready:
            self._ready.popleft().let_go()

    async def _create(self) -> None:
        await api(
            self._connection,
            f"CONSUMER.CREATE.{self._stream}.{self._name}",
            {"stream_name": self._stream, "config": self._config},
        )

    async def _restore(self) -> None:
        try:
            await self._create()
        except BackchannelError as error:
            log.warning("consumer_missing", consumer=self._name, error=error.message)
            await asyncio.sleep(LONGEST_PAUSE)

    async def _ask(self) -> None:
        """Wait for a pull to bring something. Returns also when there was nothing for a while.

        Raises:
            NotFound: the consumer is gone.
            Unavailable: the server is.
        """
        if not self._left:
            await self._begin()
        try:
            while self._left and not self._ready and self._status is None:
                await self._next_word()
        except BaseException:
            self._left = 0
            raise
        if self._status is not None:
            self._left = 0
            if not self._ready:
                _judge(self._status)

    async def _begin(self) -> None:
        """A new pull. What comes of one before it is taken all the same, but is not waited for."""
        await self._connection.wait_up(SILENCE)
        self._pull = b"%d" % next(self._numbers)
        self._status = None
        wanted = {"batch": self._batch, "expires": int(EXPIRES * 1e9), "idle_heartbeat": int(HEARTBEAT * 1e9)}
        self._connection.emit(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}",
            pydantic_core.to_json(wanted),
            reply=f"{self._inbox}.{self._pull.decode()}",
        )
        self._left = self._batch

    async def _next_word(self) -> None:
        self._heard.clear()
        try:
            async with asyncio.timeout(SILENCE):
                await self._heard.wait()
        except TimeoutError:
            raise Unavailable("The server has gone quiet.") from None
        if not self._connection.up and not self._ready:
            raise Unavailable("The connection to NATS was lost.")

    def _arrived(self, subject: bytes, reply: bytes, head: bytes, payload: bytes) -> None:
        numbers = numbers_of(reply)
        if numbers is not None:
            record = record_of(numbers, subject, head, payload)
            self._left = max(self._left - 1, 0)
            self._ready.append(
                Delivery(
                    self._connection, record, numbers.attempt, reply.decode(), self._beat, numbers.pending
                )
            )
        elif status_of(head) != 100 and subject.rpartition(b".")[2] == self._pull:
            self._status = head
        self._heard.set()

    def _changed(self, up: bool) -> None:
        self._left = 0  # the server has forgotten the pull
        self._heard.set()


def _judge(head: bytes) -> None:
    """What a status that ended a pull means.

    Raises:
        NotFound: the consumer is gone.
        Unavailable: the server cannot say.
    """
    match status_of(head), status_text(head):
        case ((404 | 408), _):
            return
        case 503, _:
            raise NotFound("Nobody answers for the consumer.")
        case 409, text if "Deleted" in text:
            raise NotFound(f"The consumer is gone ({text}).")
        case status, text:
            raise Unavailable(f"The consumer answered {status} {text}.")
