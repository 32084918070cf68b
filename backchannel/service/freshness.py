"""Freshness: a process that was stopped for a while decides nothing before it has caught up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from backchannel.errors import BackchannelError

BEAT = 0.25
STALE = 1.0
"""Seconds without a beat after which anything may have changed: the process was frozen, the machine slept."""


class Freshness:
    """What came in meanwhile lies in the buffers of its sockets, in no order with what was decided.

    Args:
        catch_up: each waits until all is known of which it has the view; raises Unavailable.
    """

    def __init__(self, *catch_up: Callable[[], Awaitable[None]]) -> None:
        self._catch_up = catch_up
        self._last_beat = time.monotonic()
        self._catching: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(BEAT)

    async def beat(self) -> None:
        """To be called every BEAT seconds. One that comes late catches up first, if that is possible."""
        with suppress(BackchannelError):
            await self.require()
            self._last_beat = time.monotonic()

    @property
    def stale(self) -> bool:
        """Whether nothing may be decided before `require`."""
        return time.monotonic() - self._last_beat > STALE

    async def require(self) -> None:
        """Wait until all that had happened by now is known here. Raises Unavailable."""
        if not self.stale:
            return
        if self._catching is None or self._catching.done():
            self._catching = asyncio.get_running_loop().create_task(self._caught_up())
        await asyncio.shield(self._catching)

    async def wait(self) -> None:
        """The same, however long it takes until the log can be read."""
        while self.stale:
            with suppress(BackchannelError):
                await self.require()
                return
            await asyncio.sleep(BEAT)

    async def _caught_up(self) -> None:
        began = time.monotonic()
        await asyncio.gather(*(one() for one in self._catch_up))
        self._last_beat = began
