"""An HTTP connection: uvicorn's parser with deadlines, and the way back when it turns into a WebSocket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from bridge.config import Config
from bridge.crowd import Ticket

App = Callable[..., Any]
Upgrade = Callable[[asyncio.Transport, Ticket, str, bytes, bytes], None]
QUIET = logging.getLogger("bridge.http.parser")
QUIET.setLevel(logging.ERROR)
"""What a stranger sends is no line of the log: it is counted, and gathered like every refusal."""

SLACK = 5.0
"""Seconds that a body may take beyond the deadline of the application, which can still say why."""


class HttpSide:
    """What all HTTP connections of the process share."""

    def __init__(self, app: App, config: Config, upgrade: Upgrade, garbage: Callable[[str], None]) -> None:
        self.config = config
        self.upgrade = upgrade
        self.garbage = garbage
        self.state = ServerState()
        self.uvicorn = uvicorn.Config(
            app,
            http=H11Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=config.head_bytes,
        )
        self.uvicorn.load()

    def close(self) -> None:
        """Finish what is being answered, close the rest."""
        for connection in list(self.state.connections):
            connection.shutdown()

    def abort(self) -> None:
        for connection in list(self.state.connections):
            if isinstance(connection, HttpConnection):
                connection.transport.abort()


class HttpConnection(H11Protocol):
    """uvicorn waits forever for a head, a body or a reader; here each has a deadline."""

    def __init__(self, shared: HttpSide, ticket: Ticket, remote: str) -> None:
        super().__init__(shared.uvicorn, shared.state, {}, _loop=asyncio.get_running_loop())
        self.ws_protocol_class = asyncio.Protocol  # anything but None: upgrades are wanted
        self.logger = QUIET
        self._shared = shared
        self._ticket: Ticket | None = ticket
        self._remote = remote
        self._waits_for: str | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def begin(self, transport: asyncio.Transport, received: bytes) -> None:
        """Take over the connection with what it has sent so far, which holds a whole request head."""
        transport.set_protocol(self)
        self.connection_made(transport)
        self.data_received(received)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """It is no HTTP. Behind an answer that was given already there is nothing left to say."""
        self._shared.garbage(self._remote)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # whoever was about to answer it has nobody to answer any more
            self.cycle.message_event.set()
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:
            self.transport.close()

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client that has said everything may close its half and still be answered."""
        cycle = self.cycle
        unanswered = cycle is not None and not cycle.more_body and not cycle.response_complete
        if unanswered:
            self.cycle.keep_alive = False
        return bool(unanswered and self.transport.can_write_eof())  # TLS has no halves

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """A kept connection, from a proxy say, asks for a WebSocket: it is shown to the gate."""
        lines = [b"%s %s HTTP/%s" % (event.method, event.target, event.http_version)]
        lines += [b"%s: %s" % header for header in event.headers]
        ticket, self._ticket = self._ticket, None
        self._stop_clock()
        self.connections.discard(self)
        if ticket is not None:
            ticket.since = None
            head, rest = b"\r\n".join([*lines, b"", b""]), bytes(self.conn.trailing_data[0])
            self._shared.upgrade(self.transport, ticket, self._remote, head, rest)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._stop_clock()
        if self._ticket is not None:
            self._ticket.leave()
            self._ticket = None

    def _watch(self) -> None:
        """One deadline for each thing that is waited for, counted from its beginning.

        Whoever is being answered keeps its place; whoever was, or has yet to ask, gives it to who needs it.
        """
        waits_for = self._phase()
        if self._ticket is not None:
            if self.cycle is not None and not self.cycle.response_complete:
                self._ticket.stays()
            else:
                self._ticket.may_give_way(self.transport.abort)
        if waits_for == self._waits_for:
            return
        self._stop_clock()
        self._waits_for = waits_for
        if waits_for is not None:
            self._deadline = self.loop.call_later(self._patience(waits_for), self.transport.abort)

    def _phase(self) -> str | None:
        if self._ticket is None:  # handed over, or gone
            return None
        if self.transport.is_closing():
            return "reader"  # who does not read its answer would hold the connection for ever
        match self.conn.their_state:
            case h11.IDLE:
                return "head"
            case h11.SEND_BODY:
                return "body"
        return "answer" if self.cycle is not None and not self.cycle.response_complete else None

    def _patience(self, waits_for: str) -> float:
        config = self._shared.config
        match waits_for:
            case "head":
                return config.head_seconds
            case "body":
                return config.body_seconds + SLACK
        return config.answer_seconds

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
