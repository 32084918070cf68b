"""Saying how one is: the same again within a short time is a duplicate, which stores nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from backchannel.errors import BackchannelError
from backchannel.jetstream.publish import Entry, Publisher, Stored
from bridge.feed import Feed
from bridge.states import again

Answer = Callable[[Stored | BackchannelError], None]


class Saying:
    """Stores what agents say of themselves."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def offer(
        self, feed: Feed, agent: str, entries: list[Entry], found: str, answer: Answer
    ) -> Coroutine[Any, Any, None] | None:
        """Have it stored, unless it repeats what was said; `answer` is told once.

        Args:
            found: the digest of what is said.

        Returns what must be awaited before the next message of this agent may be offered, if anything.
        """
        states, now = feed.states, time.time()
        if states.joins(agent, found, answer):
            return None
        repeated = states.repeated(agent, found, now)
        if repeated is not None and not repeated.sure:
            return self._look_again(feed, agent, entries, found, answer)
        if repeated is not None:
            asyncio.get_running_loop().call_soon(answer, again(repeated.sequence, feed.stream))
            return None
        done = states.sends(agent, found, answer, now)
        if len(entries) > 1:
            return self._commit(entries, done)
        try:
            self._publisher.post(entries[0], done)
        except BackchannelError:
            states.gave_up(agent)
            raise
        return None

    async def _look_again(
        self, feed: Feed, agent: str, entries: list[Entry], found: str, answer: Answer
    ) -> None:
        """The state it repeats came in at another bridge: a newer one may be on its way from there."""
        states = feed.states
        try:
            await feed.catch_up()
            repeated = states.repeated(agent, found, time.time())
            if repeated is not None:
                states.made_sure(agent, repeated)
            if (under_way := self.offer(feed, agent, entries, found, answer)) is not None:
                await under_way
        except BackchannelError as error:
            answer(error)

    async def _commit(self, entries: list[Entry], answer: Answer) -> None:
        try:
            stored = await self._publisher.commit(entries)
        except BackchannelError as error:
            answer(error)
        else:
            answer(stored)
