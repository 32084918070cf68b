"""Turns: costly work is done a piece at a time for each caller, with a pause after it as long as it took."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

AT_ONCE = 4
"""Pieces of work of all callers under way."""

MOST_CALLERS = 10_000
LONGEST_PAUSE = 2.0


@dataclass(slots=True)
class _Caller:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    rests_until: float = 0.0


class Turns:
    """Whoever asks for much waits for its own work, and for nobody else's longer than AT_ONCE allows."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._room = asyncio.Semaphore(at_once)
        self._callers: OrderedDict[tuple[str, str], _Caller] = OrderedDict()

    @asynccontextmanager
    async def turn(self, caller: tuple[str, str]) -> AsyncIterator[None]:
        """Wait until it is this caller's turn, and have it until the block ends."""
        mine, clock = self._of(caller), asyncio.get_running_loop().time
        async with mine.lock:
            if (rest := mine.rests_until - clock()) > 0:
                await asyncio.sleep(rest)
            async with self._room:
                began = clock()
                try:
                    yield
                finally:
                    mine.rests_until = clock() + min(clock() - began, LONGEST_PAUSE)

    def _of(self, caller: tuple[str, str]) -> _Caller:
        if caller not in self._callers:
            self._callers[caller] = _Caller()
            if len(self._callers) > MOST_CALLERS:
                oldest = next(iter(self._callers))
                if not self._callers[oldest].lock.locked():
                    del self._callers[oldest]
        self._callers.move_to_end(caller)
        return self._callers[caller]
