"""Reads: how much of the log is read again for one agent, a page at a time, and in turn with the others."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from backchannel.delivery.pace import Account
from bridge.turns import Turns

AT_ONCE = 3
"""Pages that are read for one agent at a time."""

PER_SECOND = 16 << 20
BURST = 128 << 20
"""Bytes that are read for one agent, over all its connections; what a pattern costs counts like reading."""

MOST = 20_000


class Reading:
    """One agent's way to the log: a gate for each page, and a turn for whatever is done with it."""

    def __init__(self, everybody: asyncio.Semaphore, turns: Turns) -> None:
        self._everybody = everybody
        self._mine = asyncio.Semaphore(AT_ONCE)
        self._account = Account(PER_SECOND, BURST)
        self._turns = turns

    async def __aenter__(self) -> None:
        """Wait until a page may be read; those who are in debt hold up nobody else."""
        await self._mine.acquire()
        try:
            if wait := self._account.wait(asyncio.get_running_loop().time()):
                await asyncio.sleep(wait)
            await self._everybody.acquire()
        except BaseException:
            self._mine.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._everybody.release()
        self._mine.release()

    async def turn(self, cost: int) -> None:
        """Wait until so much may be done in this turn of the loop."""
        self._account.charge(cost)
        await self._turns.mine(cost)


class Reads:
    """The ways of all agents, kept while they come and go.

    Args:
        everybody: pages that are read at a time for all of them.
    """

    def __init__(self, everybody: asyncio.Semaphore, turns: Turns, most: int = MOST) -> None:
        self._everybody = everybody
        self._turns = turns
        self._most = most
        self._known: OrderedDict[tuple[str, str], Reading] = OrderedDict()

    def of(self, owner: tuple[str, str]) -> Reading:
        """That of an agent, by group and name."""
        found = self._known.get(owner)
        if found is None:
            found = self._known[owner] = Reading(self._everybody, self._turns)
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        self._known.move_to_end(owner)
        return found
