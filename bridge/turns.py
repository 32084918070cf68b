"""Turns: how much of what came in is read in one turn of the loop, and who is next."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

TURN = 256 << 10
"""What may be asked of one turn, for everybody together, in the bytes of `delivery/work.py`: a few
milliseconds. One piece of work is never cut, so a turn may come to one large message more."""


class Worker(Protocol):
    """Something that has more to do than is good for one turn."""

    def work(self) -> float:
        """Do a stretch of it, and say what that came to. Whoever has more to do asks again."""


@dataclass(eq=False, slots=True)
class _Pass:
    """Leave for somebody who waits to do so much."""

    given: asyncio.Future[None]
    cost: float

    def work(self) -> float:
        if self.given.done():  # whoever waited has gone
            return 0.0
        self.given.set_result(None)
        return self.cost


class Turns:
    """Lets everybody who has something to do go on in turn, each a stretch, so that nobody waits for one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: float = TURN) -> None:
        self._loop = loop
        self._most = most
        self._left = most
        self._waiting: dict[Worker, None] = {}
        self._called = False

    def now(self, one: Worker) -> None:
        """Let it work in this turn if nobody waits and there is room for it, else in one of the next."""
        if self._waiting or self._left <= 0:
            self.later(one)
            return
        self._call()
        self._left -= one.work()

    def later(self, one: Worker) -> None:
        """Let it work when those are through who asked before."""
        self._waiting[one] = None
        self._call()

    async def mine(self, cost: float) -> None:
        """Wait until there is room for so much in this turn of the loop."""
        leave = _Pass(self._loop.create_future(), cost)
        self.now(leave)
        await leave.given

    def forget(self, one: Worker) -> None:
        self._waiting.pop(one, None)

    def _call(self) -> None:
        if not self._called:
            self._called = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        """A turn of the loop: everybody who waits once, as far as it goes."""
        self._called, self._left = False, self._most
        for _ in range(len(self._waiting)):
            if self._left <= 0 or not self._waiting:
                break
            one = next(iter(self._waiting))
            del self._waiting[one]
            self._left -= one.work()
        if self._waiting:
            self._call()
