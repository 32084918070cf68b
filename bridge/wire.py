"""One accepted WebSocket, as its owner sees it: whole messages in, ready frames out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pydantic_core
import structlog
from websockets.frames import DATA_OPCODES, PONG, Frame
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from backchannel.delivery.session import error_frame, too_large
from backchannel.delivery.work import of_stranger, tune_agent
from backchannel.protocol.claims import Claims
from backchannel.protocol.frame import CloseCode, Goodbye
from bridge.crowd import Ticket
from bridge.deflate import takes_deflated
from bridge.fragments import Fragments
from bridge.framing import frame
from bridge.inflow import Inflow
from bridge.room import NOBODY, Peer, Room
from bridge.vigil import Vigil

log = structlog.get_logger("bridge.wire")

ABNORMAL, NOT_UTF8, FAULT = 1006, 1007, 1011
LONGEST_REASON = 123


class Wire(asyncio.Protocol):
    """An asyncio protocol around websockets' sans-I/O one, with no task and one write per loop turn.

    Args:
        protocol: has accepted the handshake; the answer is already written.
        remote: the address, for limits and logs.
        claims: of the token at the upgrade; None for a browser that must still send its token.
    """

    __slots__ = (
        "__weakref__",
        "_claims",
        "_closing",
        "_code",
        "_deflate",
        "_dirty",
        "_ended",
        "_fragments",
        "_inflow",
        "_out",
        "_pong",
        "_protocol",
        "_queued",
        "_room",
        "_ticket",
        "_timer",
        "_transport",
        "_vigil",
        "connection_id",
        "paused",
        "peer",
        "remote",
        "share",
        "written",
    )

    def __init__(
        self,
        room: Room,
        transport: asyncio.Transport,
        protocol: ServerProtocol,
        ticket: Ticket,
        remote: str,
        claims: Claims | None,
    ) -> None:
        self.connection_id = protocol.id.hex
        self.remote = remote
        self.share = protocol.id.int & 0xFFFF  # whose turn it is at a heartbeat
        self.peer: Peer = NOBODY
        self.paused = False
        self._room = room
        self._transport = transport
        self._protocol = protocol
        self._ticket = ticket
        self._claims = claims
        self._deflate = room.deflate if takes_deflated(protocol.extensions) else None
        self._out: list[bytes] = []
        self._queued = 0
        self.written = 0
        self._dirty = False  # will be flushed at the end of this turn
        self._pong: bytes | None = None  # the answer to the latest ping, kept while congested
        self._inflow = Inflow(
            room.turns,
            transport,
            protocol,
            of_stranger() if claims is None else room.accounts.of((claims.collaboration_group, claims.sub)),
            take=self._take_frame,
            answer=self._take_answers,
            fail=self._end_for,
            fault=self._fault,
        )
        self._fragments = Fragments()
        self._closing = False
        self._ended = False  # nothing will be written any more
        self._code: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._vigil = Vigil()

    def begin(self, rest: bytes) -> None:
        """Take over the connection; ``rest`` came in together with the request head."""
        self._room.wires.add(self)
        self._room.metrics.opened.inc()
        high = self._room.config.high_water
        self._transport.set_write_buffer_limits(high=high, low=high // 4)
        self._transport.set_protocol(self)
        try:
            self.peer = self._room.admit(self)
        except Exception as error:
            self._fault(error)
        if rest:
            self.data_received(rest)

    @property
    def claims(self) -> Claims | None:
        return self._claims

    @claims.setter
    def claims(self, claims: Claims) -> None:
        self._claims, self._protocol.max_message_size = claims, self._room.config.max_frame_bytes
        self._inflow.account = self._room.accounts.of((claims.collaboration_group, claims.sub))
        self._ticket.become_known()

    @property
    def waiting(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._queued + self._transport.get_write_buffer_size()

    @property
    def closing(self) -> bool:
        """A close has begun on either side; what is sent now goes nowhere."""
        return self._closing

    # ---- out

    def send(self, body: bytes) -> None:
        """One text message."""
        if not self._closing:
            self._put(frame(body) if self._deflate is None else self._deflate.alone(body))

    def send_frames(self, frames: bytes) -> None:
        """One or more ready server frames; shared, not copied, if nothing else is sent in this turn."""
        if not self._closing:
            self._put(frames if self._deflate is None else self._deflate.shared(frames))

    def _put(self, piece: bytes) -> None:
        self._out.append(piece)
        self._queued += len(piece)
        self._flush_later()

    def _flush_later(self) -> None:
        if not self._dirty:
            self._dirty = True
            self._room.flush_later(self)

    def flush(self) -> None:
        """Write everything that was sent in this turn. Called by the room."""
        self._dirty = False
        if self._transport.is_closing():
            self._out.clear()
            return
        if self._out:
            self._write()
        if self._ended:
            self._room.end(self._transport)

    def _write(self) -> None:
        out, size, room = self._out, self._queued, self._room
        room.metrics.sent.inc(len(out))
        room.metrics.sent_bytes.inc(size)
        self._queued = 0
        self.written += size
        self._out = []
        self._transport.write(out[0] if len(out) == 1 else b"".join(out))
        if self.paused or size > room.config.high_water:
            self._after_much()

    def _after_much(self) -> None:
        if self._transport.get_write_buffer_size() > self._room.config.overflow:
            self.abort(CloseCode.TOO_SLOW)
        elif not self.paused:
            # The kernel took it all at once: whoever saw `waiting` grow and waits is told here.
            self._room.loop.call_soon(self._tell_writable)

    def _tell_writable(self) -> None:
        self._tell(self.peer.writable)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._pong is not None and not self._closing:
            self._put(self._pong)
        self._pong = None
        self._tell_writable()

    # ---- in

    def pause_reading(self) -> None:
        """Take nothing more, not even what has arrived; the client's sends will stall."""
        if not self._closing:
            self._inflow.pause()

    def hush(self) -> None:
        """Read nothing more, whatever the owner wants: the bridge is about to close."""
        if not self._closing:
            self._inflow.hush()

    def resume_reading(self) -> None:
        self._inflow.resume()

    def charge(self, cost: float) -> None:
        """What was done for this connection beside reading it; see `delivery/work.py`."""
        self._inflow.account.charge(cost)

    def allow(self, messages_per_second: float) -> None:
        """How much its agent may ask of the loop."""
        tune_agent(self._inflow.account, messages_per_second)

    def data_received(self, data: bytes) -> None:
        self._vigil.heard = True
        self._inflow.received(data)

    def eof_received(self) -> bool:
        return self._inflow.received_eof()

    def _take_frame(self, event: Frame) -> None:
        if self._closing:
            return
        if event.opcode in DATA_OPCODES:
            body = self._fragments.join(event)
            if body is not None:
                self._take_message(body)
        elif event.opcode is PONG:
            self._take_pong(bytes(event.data))

    def _take_message(self, body: bytes) -> None:
        metrics = self._room.metrics
        metrics.received.inc()
        metrics.received_bytes.inc(len(body))
        metrics.size.observe(len(body))
        if not self._fragments.is_text:
            self._hand_over(self.peer.received_binary)
        elif not body.isascii() and not _is_utf8(body):
            self._fail(NOT_UTF8, "The text is not UTF-8.")
        else:
            self._hand_over(self.peer.received, body)

    def _hand_over(self, to: Callable[..., None], *message: bytes) -> None:
        try:
            to(*message)
        except Exception as error:
            self._fault(error)

    # ---- alive?

    def ping(self) -> None:
        """Ask for a pong; only the answer to the latest ping counts."""
        if not self._closing:
            self._put(self._vigil.ask(self._room.loop.time()))

    def beat(self) -> None:
        """A heartbeat of the process: give up on a client that was silent for several, ping the others."""
        strikes = self._vigil.beat(deaf=self._inflow.held)
        if strikes >= self._room.config.heartbeat_strikes:
            self.close(CloseCode.HEARTBEAT_LOST, "Nothing was heard for several heartbeats.")
        else:
            self.ping()
            self._tell(self.peer.beat, strikes)

    def _take_pong(self, payload: bytes) -> None:
        seconds = self._vigil.answered(payload, self._room.loop.time())
        if seconds is not None:
            self._room.metrics.round_trip.observe(seconds)
            self._tell(self.peer.ponged, seconds)

    # ---- the end

    def close(self, code: int, reason: str) -> None:
        """Say why and close; by force when the client takes longer than ``close_seconds``."""
        if not self._closing and self._protocol.state is OPEN:
            self._protocol.send_close(code, reason.encode()[:LONGEST_REASON].decode(errors="ignore"))
        self._take_answers()

    def abort(self, code: int = ABNORMAL) -> None:
        """Drop the connection now; ``code`` is what the owner is told, unless a close had begun."""
        if not self._closing:
            self._closing = True
            self._code = code
        self._transport.abort()

    def _fail(self, code: int, reason: str) -> None:
        if not self._closing:
            self._protocol.fail(code, reason)
            self._take_answers()

    def _end_for(self, code: int, reason: str) -> None:
        """What the client does goes too far: it is told so in words, and nothing more of it is parsed."""
        if code == CloseCode.RATE:
            goodbye = Goodbye(code=code, reason=reason, retry_after=1.0)
            self.send(goodbye.model_dump_json().encode())
        self._fail(code, reason)

    def _fault(self, error: Exception) -> None:
        log.error("peer_failed", connection_id=self.connection_id, exc_info=error)
        self._fail(FAULT, "The bridge made a mistake.")

    def _take_answers(self) -> None:
        """Send what the protocol itself has to say: pongs, closes, and the end."""
        writes = self._protocol.data_to_send()
        if self._protocol.state is OPEN:
            if writes and self.paused:
                self._pong = writes[-1]  # the latest ping is the only one that needs an answer
            elif writes:
                self._put(b"".join(writes))
            return
        self._say_too_large()
        for piece in filter(None, writes):
            self._put(piece)
        if b"" in writes:
            self._ended = True
            self._flush_later()
        self._begin_closing()

    def _say_too_large(self) -> None:
        """Whoever sent far too much is told so in words, before the close says it as a number."""
        ours = None if self._closing or self._protocol.close_rcvd else self._protocol.close_sent
        if ours and ours.code == CloseCode.TOO_LARGE and not self.paused:
            most = min(self._protocol.max_message_size or 0, self._room.config.max_message_bytes)
            self._room.metrics.refused.labels("too_large").inc()
            self._put(frame(pydantic_core.to_json(error_frame(too_large(most)))))

    def _begin_closing(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._inflow.open_up()  # the other side's close must get through
        self._timer = self._room.loop.call_later(self._room.config.close_seconds, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._inflow.end()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._room.wires.discard(self)
        self._ticket.leave()
        code = self._reason()
        self._room.metrics.closed.labels(code).inc()
        peer, self.peer = self.peer, NOBODY
        self._tell(peer.lost, code)
        self._protocol.parser.close()  # breaks its circle, so that the memory is free at once

    def _reason(self) -> int:
        """The close code that was said first."""
        if self._code is not None:
            return self._code
        protocol = self._protocol
        said = protocol.close_rcvd if protocol.close_rcvd_then_sent else protocol.close_sent
        return int(said.code) if said is not None else ABNORMAL

    def _tell(self, call: Callable[..., None], *values: float) -> None:
        try:
            call(*values)
        except Exception as error:
            log.error("peer_failed", connection_id=self.connection_id, exc_info=error)


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
