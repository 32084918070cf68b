"""Walking along a stream in pages, at one's own pace: nothing is read before the last page is done with."""

from __future__ import annotations

import asyncio

from backchannel.errors import Conflict
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.page import page
from backchannel.jetstream.read import describe
from backchannel.jetstream.record import Record

PAGE = 500
SOON = 0.01
"""Seconds after which one looks for what was heard: it is heard a little before it is stored."""
LOOKS = 8
MORE_LOOKS = 2
"""Looks after a page that brought something: what was heard with it is stored by then."""
REST = 0.05
"""Seconds between two pages of a busy stream, so that many records are read at once, not each by itself."""
PAUSE = 1.0
"""Seconds after which one looks although nothing was heard."""
CHECK_EACH = 5
"""Looks in vain after which the stream itself is looked at."""


class Walk:
    """Every record that a filter matches behind a position, as it comes, in pages. Close it at the end.

    Unlike a tail it never holds more than one page, however far behind its reader is.
    """

    def __init__(self, connection: Connection, stream: str, filter: str, after: int) -> None:
        self._connection = connection
        self._stream = stream
        self._filter = filter
        self._heard = asyncio.Event()
        self._looks = 0
        self._vain = 0
        self._loop = asyncio.get_running_loop()
        self._next_at = 0.0
        self.position = after
        self._subscription = connection.listen(filter, self._hear)

    async def next(self) -> list[Record]:
        """The next page, at least one record; waits for it.

        Raises:
            Conflict: the stream ends before the position: it was made anew, or lost its end.
            Unavailable, NotFound: it cannot be read now.
        """
        await asyncio.sleep(self._next_at - self._loop.time())
        while True:
            self._heard.clear()
            part = await page(self._connection, self._stream, self.position, limit=PAGE, filter=self._filter)
            self.position = max(self.position, part.last_sequence_scanned)
            if part.records:
                self._vain = 0
                self._looks = min(self._looks, MORE_LOOKS)
                self._next_at = self._loop.time() + REST if part.done else 0.0
                return part.records
            if not part.done:
                continue
            await self._wait()

    def close(self) -> None:
        self._subscription.close()

    async def _wait(self) -> None:
        if self._looks:
            self._looks -= 1
            await asyncio.sleep(SOON)
            return
        try:
            async with asyncio.timeout(PAUSE):
                await self._heard.wait()
        except TimeoutError:
            self._vain += 1
            if self._vain % CHECK_EACH == 0:
                await self._require_lasting()

    async def _require_lasting(self) -> None:
        facts = await describe(self._connection, self._stream)
        if facts.last < self.position:
            raise Conflict(f"The stream {self._stream} ends before {self.position}, up to which it was read.")

    def _hear(self, subject: bytes, reply: bytes, head: bytes, payload: bytes) -> None:
        self._looks = LOOKS
        self._heard.set()
