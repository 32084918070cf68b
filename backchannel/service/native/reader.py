"""The reader of one native agent: gives it what it sees of the log, and not a message more.

A consumer knows subjects, not positions. So it is never let loose: each time as many messages are released
as lie before the next place in the log at which the agent sees more or less than before; there its filters
change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pydantic_core

from backchannel.delivery.horizon import Horizon, View
from backchannel.delivery.native import consumer_of, filters
from backchannel.errors import Unavailable
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.head import status_of
from backchannel.jetstream.read import following
from backchannel.protocol.subject import content_of, events_stream
from backchannel.service.native.consumer import (
    MOST_UNACKED,
    Standing,
    count,
    ensure,
    look,
    refilter,
    reset,
)

RELEASED = 1.0
"""Seconds in which what was released must have left, or nobody takes it."""
POLL = 0.001
MOST_AT_ONCE = 256
STEPS = 64
LOOKED_AT = 64
"""Sidebars whose beginnings are looked for at a time."""


class Reader:
    """One agent's. Only one process may have it, and it does one thing after another.

    Args:
        horizon: what the agent sees where, as of all that is in the log when it is asked.
    """

    def __init__(
        self, connection: Connection, group: str, agent: str, horizon: Callable[[int], Awaitable[Horizon]]
    ) -> None:
        self._connection = connection
        self._group = group
        self._agent = agent
        self._horizon = horizon
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{events_stream(group)}.{consumer_of(agent)}"
        self._lock = asyncio.Lock()
        self._stood: int | None = None
        self._empty: dict[tuple[str, int], int] = {}

    async def release(self, to: str, most: int) -> int | None:
        """Hand out up to `most` messages: how many; 0 if there is none, None if nobody takes them."""
        async with self._lock:
            ready, standing = await self._ready()
            number = min(ready, most, MOST_AT_ONCE, MOST_UNACKED - standing.unacked)
            return await self._hand_out(to, number, standing) if number > 0 else 0

    async def repeat(self, to: str) -> int | None:
        """Hand out one of what was handed out before and not acknowledged in time; as `release`.

        The server tells nobody that there is such a one. So we ask for it, and put it back for the agent.
        """
        async with self._lock:
            standing = await look(self._connection, self._group, self._agent)
            if not standing.unacked or standing.pending:
                return 0
            found = await self._take_one()
            if found is None:
                return 0
            self._connection.emit(found, b"-NAK")
            return await self._hand_out(to, 1, await look(self._connection, self._group, self._agent))

    async def narrow(self, horizon: Callable[[int], Awaitable[Horizon]]) -> None:
        """Take back at once what it saw by a token that counts no more, what is to be repeated as well.

        Args:
            horizon: what it sees now.

        Raises:
            NotFound: it has no consumer.
        """
        async with self._lock:
            standing = await look(self._connection, self._group, self._agent)
            stood = self._stood if self._stood is not None else standing.delivered
            now = await horizon(standing.born)
            wanted = self._filters(now.behind(max(stood, standing.delivered)))
            if not self._withdrawn(standing, wanted, now):
                return
            await refilter(self._connection, self._group, self._agent, wanted)
            if standing.unacked:
                await self._start_over(standing)

    async def _ready(self) -> tuple[int, Standing]:
        """How many messages may be released with the filters as they are; those are put right first."""
        standing = await ensure(self._connection, self._group, self._agent)
        for _ in range(STEPS):
            horizon = await self._horizon(standing.born)  # knows all that `standing` counts
            stood = self._stood if self._stood is not None else standing.delivered
            horizon = await self._widened(horizon, stood)
            turn = horizon.next_turn(stood)
            if turn is not None and turn < standing.delivered:
                standing = await self._start_over(standing)
                continue
            stood = self._stood = max(stood, standing.delivered)
            wanted = self._filters(horizon.behind(stood))
            if frozenset(wanted) != standing.filters:
                withdrawn = self._withdrawn(standing, wanted, horizon)
                standing = await refilter(self._connection, self._group, self._agent, wanted)
                if withdrawn and standing.unacked:
                    standing = await self._start_over(standing)
                continue
            turn = horizon.next_turn(stood)
            if turn is None:
                return standing.pending, standing
            if before := await self._between(wanted, standing.delivered + 1, turn + 1):
                return before, standing
            standing = await self._turn(turn, horizon, standing)
        raise Unavailable("The consumer's filters cannot be settled now; try again.", retry_after=0.1)

    async def _widened(self, horizon: Horizon, stood: int) -> Horizon:
        """With the sidebars that begin behind here seen from here on, where nothing lies in them before that.

        Most sidebars begin with the very event by which an agent sees them. One turn for each of them would
        take several requests; so whoever is put into many at once would wait for long.
        """
        openings = horizon.openings(stood)
        current = {(name, start) for start, name in openings}
        self._empty = {place: at for place, at in self._empty.items() if place in current}
        unknown = [(start, name) for start, name in openings if (name, start) not in self._empty][:LOOKED_AT]
        firsts = await asyncio.gather(*(self._first_in(name, stood) for _, name in unknown))
        for (start, name), first in zip(unknown, firsts, strict=True):
            if first is None or first >= start:
                self._empty[name, start] = stood
        return horizon.widened(self._empty)

    async def _first_in(self, name: str, after: int) -> int | None:
        """The position of the first event of a sidebar behind another position; None if there is none."""
        stream, subject = events_stream(self._group), content_of(self._group, name)
        found = await following(self._connection, stream, subject, after, 1)
        return found[0].sequence if found else None

    def _filters(self, view: View) -> list[str]:
        return filters(self._group, self._agent, view.contexts, born=view.born)

    def _withdrawn(self, standing: Standing, wanted: list[str], horizon: Horizon) -> bool:
        """Whether it saw a context by its token alone, and does no more.

        What it has not acknowledged of that would be delivered again whatever the filters say, perhaps to a
        connection that never had such a token.
        """
        ever = set(self._filters(View(frozenset(horizon.stretches), True)))
        return not standing.filters <= ever.union(wanted)

    async def _start_over(self, standing: Standing) -> Standing:
        """It went past a turn, or sees less than before: go on from what is acknowledged.

        Some comes twice, and nothing is missed.
        """
        self._stood = standing.acked
        self._empty.clear()
        return await reset(self._connection, self._group, self._agent, standing.acked + 1)

    async def _between(self, wanted: list[str], start: int, end: int) -> int:
        """How many messages lie in [start, end). What comes in while we count makes us count again."""
        if start >= end:
            return 0
        for _ in range(16):
            later = await count(self._connection, self._group, wanted, end)
            both = await count(self._connection, self._group, wanted, start)
            if await count(self._connection, self._group, wanted, end) == later:
                return both - later
        raise Unavailable("The log moves too fast to be counted; try again.", retry_after=0.1)

    async def _turn(self, turn: int, horizon: Horizon, standing: Standing) -> Standing:
        """Nothing is left to hand out up to the turn: behind it another view counts."""
        added = [name for name in self._filters(horizon.behind(turn)) if name not in standing.filters]
        if added and await self._between(added, standing.delivered + 1, turn + 1):
            standing = await self._pass_over(turn, added, standing)
        self._stood = turn
        return standing

    async def _pass_over(self, turn: int, added: list[str], standing: Standing) -> Standing:
        """Go past what the agent must not see, without forgetting what it has still to acknowledge."""
        if not standing.unacked:
            return await reset(self._connection, self._group, self._agent, turn + 1)
        left = await self._between(added, standing.delivered + 1, turn + 1)
        await refilter(self._connection, self._group, self._agent, added)
        for _ in range(left):
            found = await self._take_one()
            if found is None:
                raise Unavailable("The consumer does not go on; try again.", retry_after=0.1)
            self._connection.emit(found, b"+ACK")
        return await look(self._connection, self._group, self._agent)

    async def _hand_out(self, to: str, number: int, before: Standing) -> int | None:
        """The server sends them to the agent itself. Wait until they have left."""
        wanted = pydantic_core.to_json({"batch": number, "no_wait": True})
        self._connection.emit(self._next, wanted, reply=to)
        clock = asyncio.get_running_loop().time
        end, pause, gone = clock() + RELEASED, POLL, 0
        while gone < number and clock() < end:
            now = await look(self._connection, self._group, self._agent)
            gone = now.handed_out - before.handed_out
            if gone < number:
                await asyncio.sleep(pause)
                pause = min(pause * 2, 0.05)
        return gone or None

    async def _take_one(self) -> str | None:
        """The next message for ourselves: where to acknowledge it; None if there is none."""
        found: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

        def receive(subject: bytes, reply: bytes, head: bytes, payload: bytes) -> None:
            if not found.done():
                found.set_result(None if status_of(head) else reply.decode())

        inbox = self._connection.fresh_inbox()
        subscription = self._connection.listen(inbox, receive)
        try:
            self._connection.emit(self._next, b'{"batch":1,"no_wait":true}', reply=inbox)
            async with asyncio.timeout(RELEASED):
                return await found
        except TimeoutError:
            return None
        finally:
            subscription.close()
