"""The threshold: connections that have still to finish a TLS handshake, counted from the moment they come."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING

import structlog

from bridge.crowd import Ticket
from bridge.doorstep import Arrival

if TYPE_CHECKING:
    from bridge.port import Port

log = structlog.get_logger("bridge.threshold")
AT_ONCE = 64
"""Connections that are accepted before anything else gets its turn."""

PAUSE = 1.0
"""Seconds for which nobody is accepted where the system has no descriptor or memory for one more."""

LATER = 1.0
"""Seconds by which the library's own deadline lies behind ours, which says what it was."""


class Threshold:
    """Accepts from a socket that listens, and has each connection shake hands under a limit and a deadline.

    asyncio would tell of a connection when its handshake is done: whoever never finishes one would not count.
    """

    def __init__(self, port: Port, sock: socket.socket, tls: ssl.SSLContext) -> None:
        self._port = port
        self._sock = sock
        self._tls = tls
        self._shaking: set[asyncio.Task[None]] = set()
        sock.setblocking(False)
        sock.listen(port.config.backlog)
        self._accepting = port.loop.create_task(self._accept())

    def close(self) -> None:
        """Accept nobody more."""
        if not self._accepting.done():
            self._accepting.cancel()
            self._accepting.add_done_callback(lambda _: self._sock.close())

    def hurry(self) -> None:
        """The port closes: nobody is waited for."""
        for task in tuple(self._shaking):
            task.cancel()

    async def _accept(self) -> None:
        while True:
            for _ in range(AT_ONCE):
                try:
                    conn, address = await self._port.loop.sock_accept(self._sock)
                except ConnectionAbortedError:
                    pass  # it went before its turn came
                except OSError as problem:
                    log.error("nobody_accepted", problem=str(problem), seconds=PAUSE)
                    await asyncio.sleep(PAUSE)
                else:
                    self._enter(conn, str(address[0]))
            await asyncio.sleep(0)

    def _enter(self, conn: socket.socket, remote: str) -> None:
        ticket = self._port.crowd.enter(remote)
        if ticket is None:
            self._turn_away("too_many")
            conn.close()
        elif not ticket.begin_handshake():
            self._turn_away("too_many_handshakes")
            conn.close()
            ticket.leave()
        else:
            ticket.since = self._port.loop.time()
            arrival = Arrival(self._port, ticket)
            task = self._port.loop.create_task(self._shake(conn, arrival))
            self._shaking.add(task)
            task.add_done_callback(lambda task: self._done(task, conn, ticket, arrival))
            ticket.may_give_way(task.cancel)

    def _done(self, task: asyncio.Task[None], conn: socket.socket, ticket: Ticket, arrival: Arrival) -> None:
        """However it ended, also before it began."""
        self._shaking.discard(task)
        if not arrival.came:
            conn.close()
            ticket.leave()

    async def _shake(self, conn: socket.socket, arrival: Arrival) -> None:
        config = self._port.config
        try:
            async with asyncio.timeout(config.handshake_seconds):
                await self._port.loop.connect_accepted_socket(
                    lambda: arrival,
                    conn,
                    ssl=self._tls,
                    ssl_handshake_timeout=config.handshake_seconds + LATER,
                    ssl_shutdown_timeout=config.close_seconds,
                )
        except TimeoutError:
            self._turn_away("handshake_too_slow")
        except OSError:  # an SSLError is one as well
            self._turn_away("handshake_failed")

    def _turn_away(self, reason: str) -> None:
        self._port.metrics.turned_away.labels(reason).inc()
