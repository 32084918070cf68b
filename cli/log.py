"""Log files of the processes that `up` runs: line by line, of bounded size."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import BinaryIO

import structlog

from backchannel.home.ownership import CHANGED_BY_OTHERS, FILE_MODE, FolderError, open_file
from backchannel.logs import redact
from cli.failure import Failure

LIMIT = 10 * 1024 * 1024
KEPT = 3
LONGEST_LINE = 64 * 1024


class Log:
    """Appends lines to `path`; at `limit` bytes it becomes `path.1`, and the oldest of `kept` goes."""

    def __init__(self, path: Path, *, limit: int = LIMIT, kept: int = KEPT) -> None:
        self.path = path
        self._limit = limit
        self._kept = kept
        self._file = self._open()

    def write(self, line: bytes) -> None:
        self._file.write(line[:LONGEST_LINE].rstrip(b"\n") + b"\n")
        if self._file.tell() >= self._limit:
            self._rotate()

    def close(self) -> None:
        self._file.close()

    def _open(self) -> BinaryIO:
        fd = open_file(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, open_to=CHANGED_BY_OTHERS)
        os.fchmod(fd, FILE_MODE)
        return os.fdopen(fd, "ab", buffering=0)

    def _rotate(self) -> None:
        """What cannot be put aside is given up: a log must not grow, and must go on."""
        try:
            for number in range(self._kept - 1, -1, -1):
                older = self._numbered(number)
                if older.exists():
                    older.replace(self._numbered(number + 1))
        except OSError:
            os.ftruncate(self._file.fileno(), 0)
        else:
            full, self._file = self._file, self._open()
            full.close()

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path


def open_log(path: Path) -> Log:
    """Failure with a sentence when it cannot be written."""
    try:
        return Log(path)
    except OSError as problem:
        raise Failure(f"The log {path} cannot be written ({problem.strerror}).") from problem


class Journal:
    """What `up` itself has to tell, and what the libraries below it log: JSON lines in a log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso"),
                structlog.processors.format_exc_info,
                redact,
                structlog.processors.JSONRenderer(),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            logger_factory=lambda *_: structlog.WriteLogger(self),  # type: ignore[arg-type]
        )

    def write(self, text: str) -> None:
        """A logger must not end what it reports on: a full disk, or a closed log, costs the line only."""
        with contextlib.suppress(OSError, ValueError, FolderError):
            for line in filter(None, text.split("\n")):
                self._log.write(line.encode())

    def flush(self) -> None:
        """Every line is written at once."""


class Lines:
    """Cuts a stream of bytes into lines; one without end is cut at LONGEST_LINE."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        *whole, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            whole.append(self._rest)
            self._rest = b""
        return whole

    def rest(self) -> list[bytes]:
        rest, self._rest = self._rest, b""
        return [rest] if rest else []
