"""One NATS client connection with a lean path in and out, on top of nats-py.

nats-py keeps what it does well: connecting, login, TLS, finding another server, replaying subscriptions.
Messages do not pass through its queues and tasks: they are cut from the read buffer and handed to a plain
function, and what is sent in one turn of the loop becomes one write. This module alone knows private names of
nats-py.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, cast

from nats.aio.client import Client, Srv
from nats.aio.subscription import Subscription
from nats.errors import Error
from nats.protocol.parser import Parser

from backchannel.jetstream.arrived import Receiver
from backchannel.logger import Logger

log = Logger(__name__)
CRLF = b"\r\n"
SLICE = 0.002
"""Seconds for which messages are handed on before everybody else has a turn. nats-py reads on without one as
long as something has come: who sends much would keep all others of the process waiting."""


class LeanParser(Parser):
    """Cuts messages from what was read; everything else of the protocol is left to nats-py."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._generation = 0
        self._busy = 0.0
        super().__init__(wire)

    def reset(self) -> None:
        """Forget half a message: the connection is a new one."""
        super().reset()
        self._generation += 1
        self._rest: list[bytes] = []
        self._have = 0
        self._needed = 0

    async def parse(self, data: bytes = b"") -> None:
        began = time.monotonic()
        await self._parse(data)
        self._busy += time.monotonic() - began
        if self._busy > SLICE:  # nothing is half done here, whatever becomes of the connection meanwhile
            self._busy = 0.0
            await asyncio.sleep(0)

    async def _parse(self, data: bytes) -> None:
        self._have += len(data)
        self._rest.append(data)
        if self._have < self._needed:
            return
        buffer = b"".join(self._rest) if len(self._rest) > 1 else data
        generation = self._generation
        position = self._cut_messages(buffer, 0)
        while position < len(buffer) and (end := buffer.find(CRLF, position)) >= 0 and not self._needed:
            await super().parse(buffer[position : end + 2])
            if generation != self._generation:
                return
            position = self._cut_messages(buffer, end + 2)
        rest = buffer[position:]
        self._rest, self._have = [rest] if rest else [], len(rest)

    def _cut_messages(self, buffer: bytes, position: int) -> int:
        """Hand on every whole message from `position`; where the first other or unfinished thing begins."""
        deliver, size = self._wire.deliver, len(buffer)
        self._needed = 0
        while True:
            with_head = buffer.startswith(b"HMSG ", position)
            if not with_head and not buffer.startswith(b"MSG ", position):
                return position
            line_end = buffer.find(CRLF, position)
            if line_end < 0:
                return position
            parts = buffer[position:line_end].split()
            start, length = line_end + 2, int(parts[-1])
            end = start + length
            if size < end + 2:
                self._needed = end + 2 - position
                return position
            cut = start + int(parts[-2]) if with_head else start
            reply = parts[3] if len(parts) == (6 if with_head else 5) else b""
            deliver(int(parts[2]), parts[1], reply, buffer[start:cut], buffer[cut:end])
            position = end + 2


class Wire(Client):
    """A nats-py client whose messages go straight to functions."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = LeanParser(self)
        self._receivers: dict[int, Receiver] = {}
        self._flush_due = False

    def listen(self, subject: str, queue: str, receiver: Receiver) -> int:
        """Subscribe; nats-py replays it at every reconnect. The number undoes it in `ignore`."""
        self._sid += 1
        number = self._sid
        self._receivers[number] = receiver
        self._subs[number] = Subscription(self, number, subject, queue=queue)
        if self.is_connected:
            self.write(f"SUB {subject} {queue + ' ' if queue else ''}{number}\r\n".encode())
        return number

    def ignore(self, number: int) -> None:
        """Undo a subscription."""
        self._subs.pop(number, None)
        if self._receivers.pop(number, None) is not None and self.is_connected:
            self.write(b"UNSUB %d\r\n" % number)

    def deliver(self, number: int, subject: bytes, reply: bytes, head: bytes, payload: bytes) -> None:
        """Hand one message to whoever listens. What goes wrong there never reaches the read loop."""
        receiver = self._receivers.get(number)
        if receiver is None:
            return
        try:
            receiver(subject, reply, head, payload)
        except Exception:
            log.exception("receiver_failed", subject=subject.decode("utf-8", "replace"))

    def write(self, frame: bytes) -> None:
        """Send with the other frames of this turn, in order with what nats-py sends."""
        self._pending.append(frame)
        self._pending_data_size += len(frame)
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush_turn)

    def _flush_turn(self) -> None:
        self._flush_due = False
        if not self._pending or not self.is_connected or self._transport is None:
            return
        frames, self._pending, self._pending_data_size = b"".join(self._pending), [], 0
        # A transport that has just broken raises here or drops silently; the read loop notices either way.
        with contextlib.suppress(OSError, RuntimeError):
            self._transport.write(frames)

    @property
    def unsent(self) -> int:
        """Bytes handed over for sending that the kernel has not taken yet."""
        transport = self._socket
        return self._pending_data_size + (transport.get_write_buffer_size() if transport else 0)

    @property
    def server_id(self) -> str:
        return str(self._server_info.get("server_id") or "")

    @property
    def clustered(self) -> bool:
        """Whether the server says that it is one of several; others may be there then that cannot be seen."""
        return bool(self._server_info.get("cluster"))

    @property
    def reading(self) -> bool:
        """False when the read loop has ended, which nats-py does not notice by itself."""
        return self._reading_task is not None and not self._reading_task.done()

    def forget_unsent(self) -> None:
        """Drop what was not sent; whoever needs it sends it again."""
        self._pending, self._pending_data_size = [], 0

    async def end(self, patience: float) -> None:
        """Close for good, within `patience` seconds whatever the server does."""
        try:
            async with asyncio.timeout(patience):
                await self.close()
        except Exception as problem:  # a broken connection may fail to close in any way; it is cut below
            log.debug("connection_not_closed_cleanly", problem=repr(problem))
        self.abort()

    def abort(self) -> None:
        """Cut the socket."""
        transport = self._socket
        # One of asyncio's that ended by itself after its last byte has no loop any more, and fails so.
        with contextlib.suppress(AttributeError):
            if transport is not None:
                transport.abort()

    @property
    def _socket(self) -> asyncio.WriteTransport | None:
        writer = getattr(self._transport, "_io_writer", None)
        return cast("asyncio.WriteTransport", writer.transport) if writer is not None else None

    async def _connect_to_server(self, s: Srv) -> None:
        """nats-py leaves the socket of an attempt that failed open until the garbage collector finds it."""
        if self._socket is not None:
            self._socket.close()
        await super()._connect_to_server(s)

    def _connect_command(self) -> bytes:
        """The login is said to nobody in the clear who should have spoken TLS."""
        expected = self._current_server is not None and self._current_server.uri.scheme == "tls"
        if expected and not self._server_info.get("tls_required"):
            raise Error("the server does not speak TLS, and its address begins with tls://")
        if self._server_info.get("tls_required") and self._socket is not None:
            # nats-py does not tell its stream, and asyncio complains then whenever the server hangs up.
            self._socket.get_protocol()._over_ssl = True  # type: ignore[attr-defined]
        return super()._connect_command()

    async def _process_pong(self) -> None:
        """A pong nobody waits for any more must not end the read loop."""
        if self._pongs:
            waiting: asyncio.Future[Any] = self._pongs.pop(0)
            if not waiting.done():
                waiting.set_result(True)
        self._pongs_received += 1
        self._pings_outstanding = 0
