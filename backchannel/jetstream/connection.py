"""The supervised connection to NATS: it comes back from whatever happens, and says whether it is up."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from backchannel.errors import BadMessage, TooLarge, Unavailable
from backchannel.jetstream.address import Address
from backchannel.jetstream.arrived import Arrived, Receiver, Reply
from backchannel.jetstream.head import status_of, write_head
from backchannel.jetstream.keeper import Keeper, Timings, refusal
from backchannel.jetstream.wire import Wire
from backchannel.logger import Logger

__all__ = ["Arrived", "Connection", "Reply", "Subscription", "Timings"]

log = Logger(__name__)
MOST_UNSENT = 64 << 20
NO_RESPONDERS = 503
_UNFIT = re.compile(r"[\x00-\x20\x7f]|^$|^\.|\.$|\.\.")


class Subscription:
    """Interest in a subject. It survives reconnects and replaced clients."""

    def __init__(self, connection: Connection, subject: str, queue: str, receiver: Receiver) -> None:
        self.subject = subject
        self.queue = queue
        self.receiver = receiver
        self.number = 0
        self._connection = connection

    def close(self) -> None:
        """No message is delivered after this."""
        self._connection._unlisten(self)


class Connection:
    """One client of a NATS server or cluster. Make it with `open`; all of it belongs to one event loop."""

    def __init__(self, address: Address, name: str, inbox: str, timings: Timings) -> None:
        self._address = address
        self._name = name
        self._inbox = inbox
        self._prefix = f"{inbox}.{secrets.token_hex(11)}"
        self._cut = len(self._prefix) + 1
        self._up = asyncio.Event()
        self._lost = False
        self._closing = False
        self._listeners: list[Callable[[bool], None]] = []
        self._subscriptions: dict[int, Subscription] = {}
        self._receivers: dict[bytes, Receiver] = {}
        self._waiting: dict[bytes, asyncio.Future[Reply]] = {}
        self._numbers = itertools.count(1)
        self._keeper = Keeper(address, name, inbox, timings, self._attach, self._set_up)
        self._remember(Subscription(self, f"{self._prefix}.>", "", self._deliver))

    @classmethod
    async def open(
        cls,
        address: Address,
        *,
        name: str,
        wait: float | None = 10.0,
        inbox: str = "_INBOX",
        timings: Timings | None = None,
    ) -> Connection:
        """Connect, and stay connected until `close`.

        Args:
            name: what the server's monitoring shows.
            wait: seconds to wait for the server; None waits as long as it takes.
            inbox: what the subjects of replies to us begin with.

        Raises:
            Unavailable: no server answered within `wait`.
            Forbidden: the server refused the login.
        """
        connection = cls(address, name, inbox, timings or Timings())
        connection._keeper.start()
        try:
            await connection._opened(wait)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _opened(self, wait: float | None) -> None:
        outcomes = [asyncio.ensure_future(event.wait()) for event in (self._up, self._keeper.refused)]
        try:
            await asyncio.wait(outcomes, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for outcome in outcomes:
                outcome.cancel()
        if self.up:
            return
        if self._keeper.refused.is_set():
            raise refusal(self._address)
        raise Unavailable(self._absent(), retry_after=1.0)

    async def another(self, name: str) -> Connection:
        """One more to the same server with the same login, for what must not hold up or cut this one."""
        return await Connection.open(self._address, name=name, wait=None, inbox=self._inbox)

    async def close(self) -> None:
        """Send what is waiting to be sent, and end. Never takes longer than a few seconds."""
        self._closing = True
        await self._keeper.stop()
        self._set_up(False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def up(self) -> bool:
        """True while the socket is connected and the last round trip came back."""
        return self._up.is_set()

    @property
    def server_id(self) -> str:
        """What the server calls itself; another name each time it is started. Empty while there is none."""
        wire = self._keeper.wire
        return "" if wire is None else wire.server_id

    @property
    def clustered(self) -> bool:
        """Whether the server is one of several; True as well while that is not known."""
        wire = self._keeper.wire
        return wire is None or not wire.is_connected or wire.clustered

    def on_change(self, callback: Callable[[bool], None]) -> None:
        """Call it with True when the connection has come up, with False when it is lost."""
        self._listeners.append(callback)

    def forget_change(self, callback: Callable[[bool], None]) -> None:
        if callback in self._listeners:
            self._listeners.remove(callback)

    async def wait_up(self, timeout: float) -> None:
        """
        Raises:
            Unavailable: it did not come up within `timeout` seconds.
        """
        if self._up.is_set():
            return
        try:
            async with asyncio.timeout(timeout):
                await self._up.wait()
        except TimeoutError:
            raise Unavailable(self._absent(), retry_after=1.0) from None

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 5.0,
    ) -> Reply:
        """Ask and wait for one reply; a connection that is down is waited for within `timeout` seconds.

        Raises:
            Unavailable: nobody listens there, no reply came in time, or the connection broke meanwhile; what
                was asked for may have been done.
        """
        key = b"r%d" % next(self._numbers)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                await self.wait_up(timeout)
                self._waiting[key] = future
                self.emit(subject, payload, write_head(headers), f"{self._prefix}.{key.decode()}")
                reply = await future
        except TimeoutError:
            if not self.up:
                raise Unavailable(self._absent(), retry_after=1.0) from None
            raise Unavailable(f"No reply to {subject} came within {timeout:g} s; try again.") from None
        finally:
            self._waiting.pop(key, None)
        if status_of(reply.head) == NO_RESPONDERS:
            raise Unavailable(f"Nobody listens on {subject} at the moment; try again.", retry_after=1.0)
        return reply

    async def send(
        self, subject: str, payload: bytes, *, headers: Mapping[str, str] | None = None, reply: str = ""
    ) -> None:
        """Publish at most once, to whoever listens now.

        Raises:
            Unavailable: the connection is down, or the server takes nothing.
        """
        self.emit(subject, payload, write_head(headers), reply)

    def emit(self, subject: str, payload: bytes, head: bytes = b"", reply: str = "") -> None:
        """`send` with a ready header block and without waiting: goes out at the end of this turn."""
        wire = self._keeper.wire
        if wire is None or not wire.is_connected:
            raise Unavailable(self._absent(), retry_after=1.0)
        if _UNFIT.search(subject) or _UNFIT.search(reply or "-"):
            raise BadMessage(f"{subject[:80]!r} is not a subject that can be published to.")
        size = len(head) + len(payload)
        if size > wire.max_payload:
            raise TooLarge(f"The message has {size} bytes, and the NATS server takes {wire.max_payload}.")
        if wire.unsent > MOST_UNSENT:
            raise Unavailable("The NATS server does not take what is sent; try again later.", retry_after=1.0)
        to = f"{subject} {reply}" if reply else subject
        if head:
            wire.write(b"HPUB %b %d %d\r\n%b%b\r\n" % (to.encode(), len(head), size, head, payload))
        else:
            wire.write(b"PUB %b %d\r\n%b\r\n" % (to.encode(), size, payload))

    async def subscribe(
        self, subject: str, on_message: Callable[[Arrived], None], *, queue: str = ""
    ) -> Subscription:
        """Hear what is published from now on; in a `queue`, share it with the others in there.

        When this returns, the server knows of it, unless the connection is down; then it will.
        """

        def receive(name: bytes, reply: bytes, head: bytes, payload: bytes) -> None:
            on_message(Arrived(name.decode(), payload, head, reply.decode()))

        subscription = self.listen(subject, receive, queue=queue)
        if self.up:
            await self._keeper.pulse()
        return subscription

    def listen(self, subject: str, receiver: Receiver, *, queue: str = "") -> Subscription:
        """`subscribe` without waiting and without taking messages apart."""
        subscription = Subscription(self, subject, queue, receiver)
        self._remember(subscription)
        if self._keeper.wire is not None:
            subscription.number = self._keeper.wire.listen(subject, queue, receiver)
        return subscription

    def inbox(self, receiver: Receiver) -> str:
        """A subject of our own; `receiver` gets what comes to it and, after a dot, to anything below."""
        key = f"i{next(self._numbers)}"
        self._receivers[key.encode()] = receiver
        return f"{self._prefix}.{key}"

    def fresh_inbox(self) -> str:
        """A subject for `listen`, for deliveries that keep their own subject."""
        return f"{self._inbox}.{secrets.token_hex(11)}"

    def close_inbox(self, subject: str) -> None:
        self._receivers.pop(subject[self._cut :].encode(), None)

    def _remember(self, subscription: Subscription) -> None:
        self._subscriptions[id(subscription)] = subscription

    def _unlisten(self, subscription: Subscription) -> None:
        if self._subscriptions.pop(id(subscription), None) is not None and self._keeper.wire is not None:
            self._keeper.wire.ignore(subscription.number)

    def _attach(self, wire: Wire) -> None:
        for subscription in self._subscriptions.values():
            subscription.number = wire.listen(subscription.subject, subscription.queue, subscription.receiver)

    def _deliver(self, subject: bytes, reply: bytes, head: bytes, payload: bytes) -> None:
        key = subject[self._cut :].partition(b".")[0]
        receiver = self._receivers.get(key)
        if receiver is not None:
            receiver(subject, reply, head, payload)
            return
        waiting = self._waiting.get(key)
        if waiting is not None and not waiting.done():
            waiting.set_result(Reply(subject.decode(), payload, head, reply.decode()))

    def _absent(self) -> str:
        where, why = self._address.place, self._keeper.problem
        return f"The NATS server at {where} cannot be reached ({why}); try again later."

    def _fail_waiting(self, sentence: str) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Unavailable(sentence, retry_after=1.0))

    def _set_up(self, up: bool) -> None:
        if up == self._up.is_set():
            return
        if up:
            self._up.set()
        else:
            self._up.clear()
            self._fail_waiting("The connection to NATS was lost while a reply was awaited; try again.")
        if self._lost and up:
            log.info("nats_connection_back", connection=self._name)
        elif not up and not self._closing:
            self._lost = True
            log.warning("nats_connection_lost", connection=self._name)
        for callback in tuple(self._listeners):
            try:
                callback(up)
            except Exception:
                log.exception("connection_listener_failed", connection=self._name)
