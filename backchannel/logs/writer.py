"""Writes log lines to a stream: no flood of them, and without waiting for a reader who has stopped."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import stat
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

from backchannel.logs.gathering import Gathering

PIPE_BYTES = 1 << 20
TOLD_EVERY = 1.0
"""Seconds after which it is told how many lines were left out."""


class Writer(logging.Handler):
    """A line for each record, or a count for those that are too many.

    A pipe whose reader has stopped, as `up` may when it is frozen, fills and then holds up whoever writes.
    Lines that it does not take are counted instead: a platform works on without its log.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._stream = stream
        self._clock = clock
        self._pipe = _unblocked(stream)
        self._gathering = Gathering()
        self._lost = 0
        self._cut = False
        self._timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._gathering.admits(f"{record.name}: {_event(record)}", self._clock()):
                self._put(self.format(record))
            else:
                self._tell_soon()
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self.tell()
        super().close()

    def tell(self) -> None:
        """Write how many lines were left out, if any were."""
        with self.lock or contextlib.nullcontext():
            self._timer = None
            for event, count in self._gathering.unwritten().items():
                self._put(_line("more_of_the_same", of=event[:200], count=count))

    def _tell_soon(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(TOLD_EVERY, self.tell)
            self._timer.daemon = True
            self._timer.start()

    def _put(self, line: str) -> None:
        if self._pipe is None:
            with contextlib.suppress(ValueError):  # closed, as a terminal may be
                self._stream.write(line + "\n")
                self._stream.flush()
            return
        lost = _line("log_lines_lost", count=self._lost) + "\n" if self._lost else ""
        content = (("\n" if self._cut else "") + lost + line + "\n").encode("utf-8", "replace")
        try:
            taken = os.write(self._pipe, content)
        except BlockingIOError:
            self._lost += 1
            return
        self._lost = 0
        self._cut = taken < len(content)


def _event(record: logging.LogRecord) -> str:
    """What happened, without what it happened to."""
    match record.msg:
        case {"event": event}:
            return str(event)[:200]
    return str(record.msg)[:200]


def _line(event: str, **fields: object) -> str:
    at = datetime.now(UTC).isoformat()
    return json.dumps({"event": event, "level": "warning", "timestamp": at, **fields})


def _unblocked(stream: TextIO) -> int | None:
    """The descriptor of a pipe, so set that writing to it never waits; None for anything else."""
    try:
        fd = stream.fileno()
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            return None
        os.set_blocking(fd, False)
        with contextlib.suppress(OSError, AttributeError):  # Linux alone can make it larger
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except (OSError, ValueError, AttributeError):
        return None
    return fd
