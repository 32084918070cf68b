"""The blotter: who was turned away and why, a bounded number of lines a second."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from backchannel.protocol.claims import Claims
from bridge.chronicle import Chronicle

security = structlog.get_logger("bridge.security")

LINES_PER_SECOND = 20


class Lines:
    """So many lines a second, and then none; the next one says how many were left out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._second = 0
        self._written = 0
        self._unwritten = 0

    def next(self) -> int | None:
        """The number of lines that were left out before this one; None if it is to be left out, too."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._written = second, 0
        if self._written >= LINES_PER_SECOND:
            self._unwritten += 1
            return None
        self._written += 1
        missed, self._unwritten = self._unwritten, 0
        return missed


class Blotter:
    """Whoever floods the bridge does not flood its log: beyond the limit, lines are only counted."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.chronicle: Chronicle | None = None
        self._lines = Lines(clock)

    def suspect(self, what: str, claims: Claims, remote: str) -> None:
        """Somebody with a good token does what is not theirs to do."""
        if self.chronicle is not None:
            self.chronicle.suspected(claims, what, remote)
        self.warn(what, agent=claims.sub, remote=remote)

    def warn(self, what: str, **facts: object) -> None:
        """A line of the log, as long as there are not too many. Nothing in it may be a secret."""
        missed = self._lines.next()
        if missed is not None:
            security.warning(what, **facts, unwritten_before=missed)

    def note(self, reason: str, *, status: int | None, remote: str | None, detail: str | None) -> None:
        """One security event. Nothing in it may be a secret."""
        if self.chronicle is not None:
            self.chronicle.turned_away(reason, status, remote, detail)
        self.warn("turned_away", reason=reason, status=status, remote=remote, detail=detail)
