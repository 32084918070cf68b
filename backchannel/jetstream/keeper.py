"""Keeps one client connection alive, and puts another in its place when it cannot be trusted any more."""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from backchannel.errors import Forbidden
from backchannel.jetstream.address import Address
from backchannel.jetstream.wire import Wire
from backchannel.logger import Logger
from backchannel.tls import trusting

log = Logger(__name__)

MISSES = 2
GRACE = 0.1
"""Seconds in which a busy loop may still read what came in time."""
PING_EVERY = 10
MOST_PINGS = 2


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds.

    `pulse`: between two round trips to ourselves through the server. `patience`: how long one may take; two
    missed in a row, and the client is replaced. `connect`: for one attempt. `retry`: between attempts.
    """

    pulse: float = 3.0
    patience: float = 3.0
    connect: float = 2.0
    retry: float = 0.2


REFUSED = ("authorization violation", "authorization failed")
"""What the server says, or its client, when a login is refused."""


class Keeper:
    """Owner of the current client. `wire` is that client, or None before the first one.

    Args:
        attach: gives a new client its subscriptions, before it counts as up.
        tell: is told whether the connection works, as often as that is found out.
    """

    def __init__(
        self,
        address: Address,
        name: str,
        inbox: str,
        timings: Timings,
        attach: Callable[[Wire], None],
        tell: Callable[[bool], None],
    ) -> None:
        self.wire: Wire | None = None
        self.problem = "it has not answered yet"
        self.refused = asyncio.Event()
        self._address = address
        self._name = name
        self._timings = timings
        self._attach = attach
        self._tell = tell
        self._subject = f"{inbox}.{secrets.token_hex(11)}"
        self._numbers = itertools.count(1)
        self._echoes: dict[int, asyncio.Future[bool]] = {}
        self._nudge = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep(), name=f"keep {self._name} connected")

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        wire, self.wire = self.wire, None
        if wire is not None:
            await wire.end(self._timings.connect)

    async def pulse(self) -> bool:
        """One round trip through the server to ourselves; False when it does not come back in time."""
        wire = self.wire
        if wire is None or not wire.is_connected:
            return False
        number = next(self._numbers)
        echo: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._echoes[number] = echo
        try:
            payload = b"%d" % number
            wire.write(b"PUB %b %d\r\n%b\r\n" % (self._subject.encode(), len(payload), payload))
            await asyncio.wait([echo], timeout=self._timings.patience)
            if not echo.done():
                await asyncio.sleep(GRACE)
            return echo.done() and echo.result()
        finally:
            del self._echoes[number]

    def _echoed(self, subject: bytes, reply: bytes, head: bytes, payload: bytes) -> None:
        echo = self._echoes.get(int(payload))
        if echo is not None and not echo.done():
            echo.set_result(True)

    async def _keep(self) -> None:
        while True:
            wire = await self._build()
            try:
                await self._watch(wire)
            except Exception:
                log.exception("connection_watch_failed", connection=self._name)
            if wire.last_error is not None:  # a login that was asked about is refused after the connect
                self._note(wire.last_error)
            self._lose(wire)
            wire.abort()
            await wire.end(self._timings.connect)

    async def _build(self) -> Wire:
        """A connected client with all subscriptions, however long that takes."""
        while True:
            _require_wanted()
            wire = Wire()
            try:
                async with asyncio.timeout(4 * self._timings.connect):
                    await self._connect(wire)
                _require_wanted()
                wire.listen(self._subject, "", self._echoed)
                self._attach(wire)
                self.wire = wire
                return wire
            except asyncio.CancelledError:
                await wire.end(self._timings.connect)
                raise
            except Exception as problem:  # whatever it is, the answer is another attempt
                self._note(problem)
                await wire.end(self._timings.connect)
            await asyncio.sleep(self._jittered())

    async def _connect(self, wire: Wire) -> None:
        async def failed(problem: Exception) -> None:
            self._note(problem)

        async def lost() -> None:
            self._lose(wire)

        async def settled() -> None:
            self._nudge.set()

        async def server_leaves() -> None:
            log.info("nats_server_leaves", connection=self._name)
            await wire.force_reconnect()

        await wire.connect(
            [url.strip() for url in self._address.url.split(",")],
            name=self._name,
            user=self._address.user,
            password=self._address.password,
            tls=trusting(self._address.certificate),
            error_cb=failed,
            disconnected_cb=lost,
            reconnected_cb=settled,
            closed_cb=settled,
            lame_duck_mode_cb=server_leaves,
            connect_timeout=self._timings.connect,  # type: ignore[arg-type]  # floats do as well
            reconnect_time_wait=self._jittered(),  # type: ignore[arg-type]
            max_reconnect_attempts=-1,
            ping_interval=PING_EVERY,
            max_outstanding_pings=MOST_PINGS,
        )

    async def _watch(self, wire: Wire) -> None:
        """Returns when the client is beyond trust."""
        missed = 0
        while missed < MISSES and not wire.is_closed:
            if not wire.is_connected:
                if not await self._nudged(4 * self._timings.connect):
                    return
                continue
            if not wire.reading:
                log.warning("nats_client_no_longer_reads", connection=self._name)
                return
            if await self.pulse():
                missed = 0
                self._tell(True)
                await self._nudged(self._timings.pulse)
            elif wire.is_connected:
                missed += 1
                self.problem = "it accepts connections but does not answer"
                self._tell(False)

    async def _nudged(self, wait: float) -> bool:
        """Wait until the client reports a change; False if it did not within `wait` seconds."""
        try:
            async with asyncio.timeout(wait):
                await self._nudge.wait()
        except TimeoutError:
            return False
        self._nudge.clear()
        return True

    def _lose(self, wire: Wire) -> None:
        if wire is not self.wire:
            return
        wire.forget_unsent()
        for echo in self._echoes.values():
            if not echo.done():
                echo.set_result(False)
        self._tell(False)

    def _note(self, problem: Exception) -> None:
        self.problem = str(problem) or type(problem).__name__
        if any(words in self.problem.lower() for words in REFUSED):
            self.refused.set()
        log.debug("nats_connection_problem", connection=self._name, problem=repr(problem))

    def _jittered(self) -> float:
        return self._timings.retry * random.uniform(0.5, 1.5)


def refusal(address: Address) -> Forbidden:
    """What to tell when a server does not know our login."""
    return Forbidden(
        f"The NATS server at {address.place} refuses the user {address.user or '(none)'}: "
        "give the user and password that this server was set up with."
    )


def _require_wanted() -> None:
    """nats-py may lose a cancellation that comes while it connects, and so does `asyncio.wait_for` before
    Python 3.12; whoever cancelled us waits for our end."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
