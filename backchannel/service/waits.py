"""Who waits for whom: one value for each group in BC_waits, changed by compare-and-set, so never a circle."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pydantic_core

from backchannel.domain.waits import Wait, circle, standing
from backchannel.errors import Conflict, QueueFull, Unavailable, WouldDeadlock
from backchannel.jetstream.bucket import Bucket, Value

BUCKET = "BC_waits"
TRIES = 30
MOST = 2_000
"""Waits of one group at a time,"""
MOST_BYTES = 1_000_000
"""and their bytes: all of them lie in one value."""


class WaitGraph:
    """Every process changes the same value: of two waits that would close a circle together, one is later."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def enter(self, group: str, wait: Wait, now: float) -> None:
        """
        Raises:
            WouldDeadlock: it would close a circle, which the sentence names.
            QueueFull: too many wait.
            Unavailable: it cannot be entered now.
        """

        def changed(waits: list[Wait]) -> list[Wait]:
            found = circle(wait.waiter, wait.on, waits, now)
            if found is not None:
                told = " waits for ".join(found)
                raise WouldDeadlock(f"Nobody could ever answer: {told}. Answer first, or do not wait.")
            if len(waits) >= MOST or len(pydantic_core.to_json([*waits, wait])) > MOST_BYTES:
                raise QueueFull("Too many agents wait for each other now; try again.", retry_after=1.0)
            return [*waits, wait]

        await self._change(group, changed, now)

    async def renew(self, group: str, key: str, until: float, now: float) -> None:
        """Let it stand for longer. Raises Unavailable."""
        await self._change(
            group, lambda waits: [one._replace(until=until) if one.key == key else one for one in waits], now
        )

    async def leave(self, group: str, key: str, now: float) -> None:
        """It is over. Raises Unavailable."""
        await self._change(group, lambda waits: [one for one in waits if one.key != key], now)

    async def _change(self, group: str, change: Callable[[list[Wait]], list[Wait]], now: float) -> None:
        for _ in range(TRIES):
            found = await self._bucket.get(group)
            payload = pydantic_core.to_json(change(standing(_read(found), now)))
            try:
                if found is None:
                    await self._bucket.create(group, payload)
                else:
                    await self._bucket.update(group, payload, found.revision)
            except Conflict:
                continue
            return
        raise Unavailable("Too many agents begin and end to wait at once; try again.", retry_after=0.5)


def _read(found: Value | None) -> Sequence[Wait]:
    if found is None:
        return ()
    return [
        Wait(key, waiter, tuple(on), until)
        for key, waiter, on, until in pydantic_core.from_json(found.payload)
    ]
