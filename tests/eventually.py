"""Look again at what nobody announces until it is as wanted: without hurry, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

PATIENCE = 60.0
PAUSE = 0.05
"""A busy loop takes the cores from those it waits for, and runs into their rate limits."""

Seen = TypeVar("Seen")


async def eventually(
    look: Callable[[], Awaitable[Seen]], fits: Callable[[Seen], object] = bool, pause: float = PAUSE
) -> Seen:
    """What is seen when it fits at last."""
    seen = await look()
    try:
        async with asyncio.timeout(PATIENCE):
            while not fits(seen):
                await asyncio.sleep(pause)
                seen = await look()
    except TimeoutError:
        raise AssertionError(f"it did not come within {PATIENCE:.0f} s; seen last: {seen!r}") from None
    return seen
