"""Who sends much over one connection does not keep everybody else of the process waiting."""

from __future__ import annotations

import asyncio
import time

from backchannel.jetstream.connection import Arrived, Connection
from backchannel.jetstream.wire import SLICE
from tests.jetstream.faults import PATIENCE

MESSAGES, SIZE = 24, 16_000


async def test_others_have_their_turns_between_messages_that_take_long(connection: Connection) -> None:
    turn, at, heard = 0, list[int](), asyncio.Event()

    def take(message: Arrived) -> None:
        time.sleep(2 * SLICE)  # what a message costs us
        at.append(turn)
        if len(at) == MESSAGES:
            heard.set()

    async def count() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    await connection.subscribe("much", take)
    counting = asyncio.create_task(count())
    for _ in range(MESSAGES):
        connection.emit("much", b"x" * SIZE)
    async with asyncio.timeout(PATIENCE):
        await heard.wait()
    counting.cancel()
    # Two such messages come in one piece of what is read; what has piled up in the buffer is eight or more.
    assert max(at.count(one) for one in at) <= 4
