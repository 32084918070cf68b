"""What the WebSockets of one bridge share: their owners, their loop, and the writing at the end of a turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import structlog

from bridge.accounts import Accounts
from bridge.config import Config
from bridge.deflate import Deflate
from bridge.metrics import Metrics
from bridge.turns import Turns

if TYPE_CHECKING:
    from bridge.wire import Wire

log = structlog.get_logger("bridge.room")


class Peer(Protocol):
    """Who owns a wire: it is told what happens there. All calls come from the event loop."""

    def received(self, body: bytes) -> None:
        """One whole text message, valid UTF-8."""

    def received_binary(self) -> None:
        """One whole message that is not text."""

    def writable(self) -> None:
        """The congestion is over."""

    def beat(self, missed: int) -> None:
        """It is this connection's turn in the heartbeat; `missed` are those in a row that it let pass."""

    def ponged(self, seconds: float) -> None:
        """The latest ping was answered after so many seconds."""

    def lost(self, code: int) -> None:
        """The connection is gone, for the reason that was given first; 1006 for none. Called once."""


class Nobody:
    """The peer of a wire before it is admitted and after it is gone."""

    __slots__ = ()

    def received(self, body: bytes) -> None: ...
    def received_binary(self) -> None: ...
    def writable(self) -> None: ...
    def beat(self, missed: int) -> None: ...
    def ponged(self, seconds: float) -> None: ...
    def lost(self, code: int) -> None: ...


NOBODY = Nobody()


class Room:
    """Every accepted WebSocket of the process."""

    def __init__(self, config: Config, metrics: Metrics, admit: Callable[[Wire], Peer]) -> None:
        self.loop = asyncio.get_running_loop()
        self.config = config
        self.metrics = metrics
        self.admit = admit
        self.deflate = Deflate(metrics.deflated)
        self.turns = Turns(self.loop)
        self.accounts = Accounts()
        self.wires: set[Wire] = set()
        self._dirty: list[Wire] = []

    def flush_later(self, wire: Wire) -> None:
        """Write what ``wire`` has to say once this turn of the loop is over."""
        if not self._dirty:
            self.loop.call_soon(self._flush)
        self._dirty.append(wire)

    @staticmethod
    def end(transport: asyncio.Transport) -> None:
        """We have said everything. TLS cannot close one half alone: there it is the end of both."""
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for wire in dirty:
            try:
                wire.flush()
            except Exception as error:  # one broken connection must not silence the others
                log.error("flush_failed", connection_id=wire.connection_id, exc_info=error)
                wire.abort()
