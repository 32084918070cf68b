"""Connections that are nothing yet, and connections that are nothing any more."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, cast

from bridge.crowd import Ticket
from bridge.upgrade import TurnedAway

if TYPE_CHECKING:
    from bridge.port import Port

BLANK_LINE = re.compile(rb"\n\r?\n")
FIRST_BYTE = re.compile(rb"[A-Za-z\r\n]")


class Arrival(asyncio.Protocol):
    """Collects a request head, under a limit and a deadline, and passes the connection on.

    Args:
        ticket: of a connection that is counted already.
    """

    __slots__ = ("_head", "_port", "_ticket", "_timer", "_transport", "came", "remote")

    def __init__(self, port: Port, ticket: Ticket | None = None) -> None:
        self._port = port
        self._head = bytearray()
        self._ticket = ticket
        self.came = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.came = True
        self._transport = cast(asyncio.Transport, transport)
        self.remote = _address(self._transport)
        loop = self._port.loop
        if self._ticket is not None:
            self._ticket.retire()
        elif (ticket := self._port.crowd.enter(self.remote)) is not None:
            self._ticket = ticket
            ticket.since = loop.time()
        else:
            self._port.metrics.turned_away.labels("too_many").inc()
            self._transport.abort()
            return
        self._timer = loop.call_later(self._port.config.head_seconds, self._too_slow)
        self._port.passing.add(self)
        self._ticket.may_give_way(self._transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._ticket is None:
            return
        searched = max(0, len(self._head) - 3)
        self._head += data
        found = BLANK_LINE.search(self._head, searched)
        end = found.end() if found else None
        if (end or len(self._head)) > self._port.config.head_bytes:
            self._turn_away(431, "head_too_large", "The request head is too large.")
        elif end is not None:
            head = bytes(self._head)
            self._port.route(self._transport, self._let_go(), self.remote, head[:end], head[end:])
        elif not FIRST_BYTE.match(self._head):
            self._turn_away(400, "bad_request", self._port.speaks)

    def eof_received(self) -> None:
        """Nothing will come any more; the transport closes by itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._ticket is not None:
            self._let_go().leave()

    def hurry(self) -> None:
        """The port closes."""
        self._transport.abort()

    def _too_slow(self) -> None:
        self._port.metrics.turned_away.labels("head_too_slow").inc()
        self._transport.abort()

    def _turn_away(self, status: int, reason: str, message: str) -> None:
        self._port.refuse(self._transport, self._let_go(), self.remote, TurnedAway(status, reason, message))

    def _let_go(self) -> Ticket:
        """From here on somebody else looks after the connection."""
        self._timer.cancel()
        self._port.passing.discard(self)
        ticket, self._ticket = self._ticket, None
        assert ticket is not None
        ticket.stays()
        return ticket


class Departure(asyncio.Protocol):
    """A refused connection: it may read the answer; what it still sends is thrown away.

    Closing at once would lose the answer, because the kernel resets a connection with unread input.
    """

    __slots__ = ("_port", "_ticket", "_timer", "_transport")

    def __init__(self, port: Port, transport: asyncio.Transport, ticket: Ticket) -> None:
        self._port = port
        self._ticket = ticket
        self._transport = transport
        self._timer = port.loop.call_later(port.config.close_seconds, transport.abort)

    def begin(self, answer: bytes) -> None:
        self._ticket.retire()
        self._ticket.may_give_way(self._transport.abort)
        self._port.passing.add(self)
        self._transport.set_protocol(self)
        self._transport.write(answer)
        self._port.room.end(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._port.passing.discard(self)
        self._ticket.leave()

    def hurry(self) -> None:
        """The port closes; the answer has been written long ago."""
        self._transport.close()


def local_address(transport: asyncio.Transport) -> str | None:
    """The address at which a connection came in."""
    return _host(transport, "sockname")


def _address(transport: asyncio.Transport) -> str:
    return _host(transport, "peername") or "unknown"


def _host(transport: asyncio.Transport, end: str) -> str | None:
    match transport.get_extra_info(end):
        case (str(host), *_):
            return host
    return None
