"""The inflow of a WebSocket: what came in is parsed frame by frame, in turn, and charged to its agent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from websockets.frames import CLOSE, DATA_OPCODES, Frame
from websockets.server import ServerProtocol

from backchannel.delivery import work
from backchannel.delivery.pace import Account, TokenBucket
from bridge.heads import Heads
from bridge.turns import Turns

STRETCH = 64 << 10
"""What one connection may ask of the loop before the next one has its turn; see `delivery/work.py`."""

SHORTEST_WAIT = 0.02
"""Seconds for which somebody in debt is not read at least: then there is something to read for."""

LONGEST_WAIT = 1.0
"""Seconds after which it is looked again: the agent may be allowed more by then."""


class Inflow:
    """Bytes wait here while their owner does not want to read, while others have their turn, and while their
    agent is in debt; meanwhile nothing more is taken from the kernel, so that the client's sends stall.

    Args:
        take: is given each frame, in order.
        answer: sends what the protocol has to say; called after each frame, so that what came before a close
            or a fault is still a message.
        fail: ends the connection, with a close code and a reason.
        fault: is told of a mistake of ours.
    """

    __slots__ = (
        "_answer",
        "_clock",
        "_data",
        "_deaf",
        "_ended",
        "_eof",
        "_fail",
        "_fault",
        "_heads",
        "_hushed",
        "_length",
        "_loop",
        "_pieces",
        "_protocol",
        "_quiet",
        "_start",
        "_stopped",
        "_take",
        "_timer",
        "_transport",
        "_turns",
        "_working",
        "account",
    )

    def __init__(
        self,
        turns: Turns,
        transport: asyncio.Transport,
        protocol: ServerProtocol,
        account: Account,
        *,
        take: Callable[[Frame], None],
        answer: Callable[[], None],
        fail: Callable[[int, str], None],
        fault: Callable[[Exception], None],
    ) -> None:
        self.account = account
        self._loop = asyncio.get_running_loop()
        self._turns = turns
        self._transport = transport
        self._protocol = protocol
        self._take, self._answer, self._fail, self._fault = take, answer, fail, fault
        self._clock = time.thread_time  # what others take of the processor is not this client's fault
        self._heads = Heads()
        self._quiet = TokenBucket(work.QUIET_PER_SECOND, work.QUIET_BURST)
        self._data = b""
        self._start = 0
        self._pieces = self._length = 0  # of the message that is not complete yet
        self._working = self._deaf = self._hushed = False
        self._stopped = self._eof = self._ended = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def held(self) -> bool:
        """Nothing is taken from the kernel now: nobody can tell whether the client is silent."""
        return self._stopped

    # ---- whether to read

    def pause(self) -> None:
        """Read nothing more, not even what has arrived."""
        self._deaf = True
        self._settle()

    def hush(self) -> None:
        """Read nothing more, whatever the owner wants."""
        self._hushed = True
        self.pause()

    def resume(self) -> None:
        if not self._hushed:
            self._deaf = False
            self._settle()

    def open_up(self) -> None:
        """Read on, whoever said what: the other side's close must get through."""
        self._hushed = False
        self.resume()

    def end(self) -> None:
        """The connection is gone, and what waits here with it."""
        self._ended = True
        self._data = b""
        self._turns.forget(self)
        if self._timer is not None:
            self._timer.cancel()
        self._take = self._answer = self._fail = self._fault = (
            _ignore  # no circle: its memory is free at once
        )

    # ---- what comes in

    def received(self, data: bytes) -> None:
        waits = bool(self._data)
        self._data = self._data[self._start :] + data if waits else data
        self._start = 0
        if not self._deaf and not waits and self._timer is None:
            self._turns.now(self)
        else:
            self._settle()

    def received_eof(self) -> bool:
        """Whether what came before the end is still to be read."""
        self._eof = True
        if not self._data:
            self._take_eof()
        return bool(self._data)

    def work(self) -> float:
        """A stretch of what waits. Called in turn."""
        spent, self._working = 0.0, True
        try:
            while self._data and spent < STRETCH and not self._deaf:
                spent += self._step()
        except Exception as error:
            self._data = b""
            self._fault(error)
        finally:
            self._working = False
        self.account.charge(spent)
        self._settle()
        return spent

    def _step(self) -> float:
        """One frame, or what there is of it."""
        if self._protocol.eof_sent:  # it is over: whatever still comes is not even parsed
            dropped, self._data, self._start = len(self._data) - self._start, b"", 0
            return dropped
        began, start = self._clock(), self._start
        end = self._heads.end(self._data, start)
        piece = self._data[start:end]
        self._start = end
        if end == len(self._data):
            self._data, self._start = b"", 0
        inflated_by = self._parse(piece)
        return work.cost_of_frame(len(piece), inflated_by, self._clock() - began, whole=self._heads.whole)

    def _parse(self, piece: bytes) -> int:
        """Bytes that there were beyond those of the line."""
        payload, inflated_by = self._heads.payload, 0
        self._protocol.receive_data(piece)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                inflated_by += len(event.data) - payload
                self._look(event, payload)
                self._take(event)
        self._answer()
        return inflated_by

    def _look(self, frame: Frame, payload: int) -> None:
        """Whoever sends too many frames without saying anything, or one message in too many, is closed."""
        says_nothing = frame.opcode not in DATA_OPCODES or not (frame.fin or frame.data)
        if says_nothing and frame.opcode is not CLOSE and self._quiet.take(self._loop.time()):
            self._fail(work.RATE, "too many frames that say nothing")
        if frame.opcode in DATA_OPCODES:
            self._pieces, self._length = self._pieces + 1, self._length + payload
            if frame.fin:
                self._pieces = self._length = 0
            elif self._pieces > work.MOST_PIECES:
                self._fail(work.RATE, f"a message in more than {work.MOST_PIECES} pieces")
            elif self._length > (self._protocol.max_message_size or self._length):
                self._fail(work.TOO_LARGE, "a message that does not end")

    def _take_eof(self) -> None:
        self._eof = False
        self._protocol.receive_eof()
        self._answer()

    # ---- what next

    def _settle(self) -> None:
        """Read on in a later turn, or when the debt is paid, or when something comes."""
        if self._working or self._ended:
            return
        if self._deaf:
            self._stop()
        elif wait := self.account.wait(self._loop.time()):
            self._stop()
            if self._timer is None:
                self._timer = self._loop.call_later(min(max(wait, SHORTEST_WAIT), LONGEST_WAIT), self._paid)
        elif self._data:
            self._stop()
            self._turns.later(self)
        elif self._eof:
            self._take_eof()
            self._loop.call_soon(self._transport.close)
        else:
            self._go()

    def _paid(self) -> None:
        self._timer = None
        self._settle()

    def _stop(self) -> None:
        if not self._stopped and not self._transport.is_closing():
            self._stopped = True
            self._transport.pause_reading()

    def _go(self) -> None:
        if self._stopped:
            self._stopped = False
            if not self._transport.is_closing():
                self._transport.resume_reading()


def _ignore(*_: object) -> None: ...
