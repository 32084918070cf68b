"""The body of a request: how much of it is read, and how slowly it may come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.requests import Request

from backchannel.errors import TooLarge
from bridge.config import Config
from bridge.upgrade import TurnedAway

READ_ON = 8 << 20
"""Bytes of a body that are read before it is cut off."""

FIRST_SECONDS = 5.0
"""For which a body may be slower than the slowest pace."""


async def read_body(request: Request, limit: int, config: Config, comes: Callable[[int], None]) -> bytes:
    """The whole body.

    Args:
        limit: bytes that it may have.
        comes: is told the bytes that have come, also of a body that is refused.

    Raises:
        TooLarge: it has more.
        TurnedAway: it comes too slowly.
    """
    declared = request.headers.get("content-length", "0")
    # Who asks before it sends can be told at once.
    most = limit if "expect" in request.headers else READ_ON
    if len(declared) > 18 or int(declared) > most:
        raise _too_large(limit)
    try:
        return await _in_time(request, limit, config, comes)
    except TimeoutError:
        raise TurnedAway(408, "body_too_slow", "The body took too long.") from None


async def _in_time(request: Request, limit: int, config: Config, comes: Callable[[int], None]) -> bytes:
    """One that is too long is read on for a while and thrown away: whoever is cut off in the middle of
    sending never reads why."""
    began = asyncio.get_running_loop().time()
    body, length = bytearray(), 0
    async with asyncio.timeout(min(config.body_seconds, FIRST_SECONDS)) as deadline:
        async for chunk in request.stream():
            comes(len(chunk))
            length += len(chunk)
            seconds = FIRST_SECONDS + length / max(1, config.body_bytes_per_second)
            deadline.reschedule(began + min(config.body_seconds, seconds))
            if length <= limit:
                body += chunk
            elif length > READ_ON:
                break
    if length > limit:
        raise _too_large(limit)
    return bytes(body)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body may have {limit} bytes at most.")
