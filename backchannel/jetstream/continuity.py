"""Whether a stream is still the one that was read: not made anew, and with nothing taken off its end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from backchannel.errors import Unavailable
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.read import StreamFacts, describe, read_one
from backchannel.jetstream.record import precise_moment_of

LAG = 3.0
"""Seconds that a new leader gets to catch up with what the one before it had handed out."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A record that was read: its sequence, and when it was stored in nanoseconds; 0 if that is not known."""

    sequence: int
    stored: int = 0


class Continuity:
    """What is known of the stream that is being read. `epoch` is its life, once that is known."""

    def __init__(self, connection: Connection, stream: str, epoch: str | None) -> None:
        self.epoch = epoch
        self._connection = connection
        self._stream = stream
        self._short_since: float | None = None

    async def judge(self, position: int, mark: Mark) -> tuple[StreamFacts, bool]:
        """What the stream holds now, and whether it goes on from `position` and the last record read.

        A log that lost its end may have grown again since, so the record itself is compared.

        Raises:
            NotFound: there is no such stream now.
            Unavailable: no answer, or a new leader has not caught up yet.
        """
        facts = await describe(self._connection, self._stream)
        self.epoch = self.epoch or facts.epoch
        if facts.epoch != self.epoch:
            return facts, False
        if facts.last < position:
            return facts, self._wait_for(position, facts)
        self._short_since = None
        return facts, await self._is_same(mark)

    def _wait_for(self, position: int, facts: StreamFacts) -> bool:
        """False when waiting is in vain."""
        now = asyncio.get_running_loop().time()
        self._short_since = self._short_since or now
        if now - self._short_since > LAG:
            return False
        raise Unavailable(f"The stream {self._stream} ends at {facts.last}, before {position}.")

    async def _is_same(self, mark: Mark) -> bool:
        if not mark.stored:
            return True
        record = await read_one(self._connection, self._stream, mark.sequence)
        return record is None or record.time == precise_moment_of(mark.stored)
