"""The port: every TCP connection arrives here and becomes a WebSocket, an HTTP connection, or a refusal."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import socket
import ssl
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus

import structlog
from websockets.datastructures import Headers
from websockets.exceptions import HeaderLineTooLong, InvalidHeader, RequestLineTooLong, TooManyHeaders
from websockets.http11 import Request, Response

from backchannel.delivery.doors import At, Check, Door, composed
from backchannel.delivery.token import MAX_TOKEN_BYTES
from backchannel.protocol.frame import CloseCode, Goodbye
from bridge.config import Config
from bridge.crowd import Crowd, Ticket
from bridge.deflate import OFFER
from bridge.doorstep import Arrival, Departure, local_address
from bridge.handshake import RETRY_AFTER, Handshake, Knock, checks_of, no_room
from bridge.heartbeat import Heartbeat
from bridge.host import Site
from bridge.http_connection import App, HttpConnection, HttpSide
from bridge.metrics import Metrics
from bridge.room import Room
from bridge.threshold import Threshold
from bridge.upgrade import Gate, TurnedAway
from bridge.wire import Wire

log = structlog.get_logger("bridge.port")
QUIET = logging.getLogger("bridge.websocket")
QUIET.setLevel(logging.ERROR)

PATH = "/ws"
PROBE = re.compile(rb"GET /health/(live|ready)(?:\?[^ ]*)? HTTP/1\.1\r?\n")
WANTS_WEBSOCKET = re.compile(rb"\nupgrade[ \t]*:[ \t]*websocket[ \t]*\r?\n", re.IGNORECASE)
HELLO_BYTES = 2 * MAX_TOKEN_BYTES
ABORT_SECONDS = 0.5
TOO_LARGE = (RequestLineTooLong, HeaderLineTooLong, TooManyHeaders)
EXTRA = {
    401: ("WWW-Authenticate", "Bearer"),
    405: ("Allow", "GET"),
    426: ("Upgrade", "websocket"),
}


class Port:
    """One listening socket for WebSockets and HTTP alike.

    Args:
        app: what answers HTTP, as an ASGI application.
        sockets: how many the process may have of clients, if that is bounded.
    """

    def __init__(
        self, config: Config, metrics: Metrics, site: Site, gate: Gate, app: App, sockets: int | None = None
    ) -> None:
        self.config = config
        self.metrics = metrics
        self.room = Room(config, metrics, lambda wire: site.host.admit(wire))
        self.loop = self.room.loop
        self.crowd = Crowd(config, metrics, self.loop.time, sockets)
        self.passing: set[Arrival | Departure] = set()
        self._site = site
        self._gate = gate
        self._http = HttpSide(app, config, self.upgrade, self._garbage)
        self._arriving = composed(Door.WEBSOCKET, At.ARRIVAL, checks_of(gate, self.loop.time))
        self._room_for_requests = composed(Door.PAGE, At.ARRIVAL, {Check.ROOM: Ticket.become_request})
        self._recording = composed(Door.WEBSOCKET, At.REFUSAL, {Check.AUDIT: gate.note})
        self._heartbeat = Heartbeat(self.room, metrics, lambda: site.host.heartbeat_seconds, self._tick)
        self._server: asyncio.Server | None = None
        self._threshold: Threshold | None = None
        self.speaks = "This port speaks HTTP and WebSocket, without TLS."

    async def open(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Accept connections from a bound socket; with `tls`, only those that speak it."""
        # Accepted sockets inherit both. A send buffer that is not bounded grows to megabytes per slow reader.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.config.send_buffer)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tick()
        self._heartbeat.start()
        if tls is not None:
            self.speaks = "This port speaks HTTP and WebSocket, over TLS."
            self._threshold = Threshold(self, sock, tls)
        else:
            self._server = await self.loop.create_server(
                lambda: Arrival(self), sock=sock, backlog=self.config.backlog
            )

    def hush(self) -> None:
        """Accept nobody and read nothing more, so that what was read can still be answered."""
        self._site.closing = True
        if self._server is not None:
            self._server.close()
        if self._threshold is not None:
            self._threshold.close()
        for wire in self.room.wires:
            wire.hush()

    async def close(self, reason: str, seconds: float) -> None:
        """Say goodbye to everybody, and be rid of them within ``seconds``."""
        self.hush()
        self._heartbeat.stop()
        self._say_goodbye(reason)
        self._http.close()
        for one in list(self.passing):
            one.hurry()
        if self._threshold is not None:
            self._threshold.hurry()
        await self._emptied(seconds)
        self._http.abort()
        for wire in list(self.room.wires):
            wire.abort()
        await self._emptied(ABORT_SECONDS)

    def _say_goodbye(self, reason: str) -> None:
        # Few clients may all come back at once; many are spread, so that the next process survives it.
        spread = min(self.config.retry_spread, len(self.room.wires) / 200)
        for wire in list(self.room.wires):
            retry_after = round(random.uniform(0.0, spread), 3)
            goodbye = Goodbye(code=CloseCode.RESTART, reason=reason, retry_after=retry_after)
            wire.send(goodbye.model_dump_json().encode())
            wire.close(CloseCode.RESTART, reason)

    async def _emptied(self, seconds: float) -> None:
        empty = asyncio.Event()
        self.crowd.on_empty = empty.set
        if self.crowd.sockets:
            try:
                await asyncio.wait_for(empty.wait(), seconds)
            except TimeoutError:
                log.info("still_connected", sockets=self.crowd.sockets)

    def _tick(self) -> None:
        self._http.state.default_headers = [(b"date", formatdate(usegmt=True).encode())]

    def route(
        self, transport: asyncio.Transport, ticket: Ticket, remote: str, head: bytes, rest: bytes
    ) -> None:
        """A WebSocket handshake goes to the gate, everything else to HTTP."""
        if WANTS_WEBSOCKET.search(head):
            self.upgrade(transport, ticket, remote, head, rest)
        elif all(has_room(ticket) for has_room in self._room_for_requests):
            HttpConnection(self._http, ticket, remote).begin(transport, head + rest)
        elif (answer := self._probed(transport, head)) is not None:
            Departure(self, transport, ticket).begin(answer)
        else:
            self.refuse(transport, ticket, remote, no_room("too_many"))

    def upgrade(
        self, transport: asyncio.Transport, ticket: Ticket, remote: str, head: bytes, rest: bytes
    ) -> None:
        """Let a WebSocket in, or say why not."""
        protocol = Handshake(max_size=self.config.max_frame_bytes, extensions=[OFFER], logger=QUIET)
        protocol.receive_data(head)
        try:
            request = _read(protocol)
            knock = Knock(request.headers, request.path, ticket, local_address(transport))
            answer = self._admit(protocol, request, knock)
        except TurnedAway as refusal:
            self.refuse(transport, ticket, remote, refusal)
            return
        if knock.claims is None:  # a stranger says hello, and nothing longer
            protocol.max_message_size = min(HELLO_BYTES, self.config.max_message_bytes)
        protocol.send_response(answer)
        transport.write(b"".join(protocol.data_to_send()))
        if ticket.since is not None:
            self.metrics.connect_seconds.observe(self.loop.time() - ticket.since)
        wire = Wire(self.room, transport, protocol, ticket, remote, knock.claims)
        if knock.claims is None:
            ticket.may_give_way(wire.abort)
        wire.begin(rest)

    def _admit(self, protocol: Handshake, request: Request, knock: Knock) -> Response:
        """The answer to a valid handshake at the right address, once everything was checked."""
        first, *others = self._arriving
        first(knock)  # the Host: by another name there is no address here either
        if request.path.partition("?")[0] != PATH:
            raise TurnedAway(404, "bad_path", "WebSockets are served at /ws.")
        answer = _shake(protocol, request)
        if not self._site.serving:
            state = "shutting down" if self._site.closing else "starting"
            raise TurnedAway(503, "not_serving", f"The bridge is {state}.", retry_after=RETRY_AFTER)
        for check in others:
            check(knock)
        return answer

    def _probed(self, transport: asyncio.Transport, head: bytes) -> bytes | None:
        """The answer to an orchestrator that wants to know whether the process lives, when there is room for
        nobody: it must not restart a bridge that is busy."""
        found = PROBE.match(head)
        if found is None:
            return None
        protocol = Handshake(logger=QUIET)
        protocol.receive_data(head)
        try:
            request = _read(protocol)
            self._gate.check_host(request.headers, local_address(transport))
        except TurnedAway as refusal:
            return written(refusal.status, refusal.message + "\n")
        status, said = self._site.probe(found[1].decode())
        return written(status, json.dumps({"status": said}) + "\n", kind="application/json")

    def _garbage(self, remote: str) -> None:
        self._note(TurnedAway(400, "bad_request", "This is no HTTP."), remote)

    def _note(self, refusal: TurnedAway, remote: str) -> None:
        self.metrics.turned_away.labels(refusal.reason).inc()
        for record in self._recording:
            record(refusal, remote)

    def refuse(self, transport: asyncio.Transport, ticket: Ticket, remote: str, refusal: TurnedAway) -> None:
        """Answer in words, and close once the client has read them."""
        self._note(refusal, remote)
        Departure(self, transport, ticket).begin(_refused(refusal))


def _read(protocol: Handshake) -> Request:
    """The request head, as websockets' strict parser sees it."""
    match protocol.events_received():
        case [Request() as request]:
            return request
    if isinstance(protocol.handshake_exc, TOO_LARGE):
        raise TurnedAway(
            431, "head_too_large", "A line of the request head is too long, or there are too many."
        )
    raise TurnedAway(400, "bad_request", "This is not a valid HTTP request.")


def _shake(protocol: Handshake, request: Request) -> Response:
    """The answer 101 to a valid handshake. What it must hold: RFC 6455, 4.2.1."""
    answer = protocol.accept(request)
    if answer.status_code == 101:
        return answer
    problem, status = protocol.handshake_exc, answer.status_code
    if isinstance(problem, InvalidHeader) and problem.name == "Sec-WebSocket-Version":
        status = 426
    reason = "bad_method" if status == 405 else "bad_handshake"
    raise TurnedAway(status, reason, f"This is not a valid WebSocket handshake: {problem}.")


def _refused(refusal: TurnedAway) -> bytes:
    more = {}
    if refusal.status in EXTRA:
        name, value = EXTRA[refusal.status]
        more[name] = value
    if refusal.status == 426:
        more["Sec-WebSocket-Version"] = "13"
    if refusal.retry_after is not None:
        more["Retry-After"] = str(refusal.retry_after)
    return written(refusal.status, f"{refusal.message}\n", more)


def written(
    status: int, text: str, more: Mapping[str, str] | None = None, kind: str = "text/plain; charset=utf-8"
) -> bytes:
    """A whole answer, after which the connection ends."""
    body = text.encode()
    headers = Headers(
        {
            "Date": formatdate(usegmt=True),
            "Connection": "close",
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        | dict(more or {})
    )
    return Response(status, HTTPStatus(status).phrase, headers, body).serialize()
