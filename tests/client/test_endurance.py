"""The SDK while a whole platform is slow, killed, restarted or made anew under it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backchannel.client import Agent, Gap
from tests.client.whole import WAIT, Place, heard, numbers
from tests.promises.running import Platform


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    running = await Platform(tmp_path / "data").start()
    yield Place(running)
    await running.stop()


async def say_numbers(me: Agent, count: int, said: asyncio.Queue[int]) -> None:
    """Twenty at a time; `said` is told what has been answered."""
    for start in range(0, count, 20):
        await asyncio.gather(*(me.remember(str(n)) for n in range(start, start + 20)))
        said.put_nowait(start + 20)


async def until_said(said: asyncio.Queue[int], count: int) -> None:
    async with asyncio.timeout(WAIT):
        while await said.get() < count:
            pass


async def test_nothing_is_lost_or_doubled_while_the_bridge_is_killed_again_and_again(
    place: Place,
) -> None:
    async with place.agent("ada") as ada, place.agent("bob") as bob:
        listening = asyncio.ensure_future(heard(bob, 1500))
        said: asyncio.Queue[int] = asyncio.Queue(maxsize=100)
        saying = asyncio.ensure_future(say_numbers(ada, 1500, said))
        for share in (300, 700, 1100):
            await until_said(said, share)
            assert place.platform.kill("-m bridge")
        await asyncio.wait_for(saying, 2 * WAIT)
        assert sorted(await listening) == list(range(1500))
        kept = [int(exchange["exchange"]["content"]) async for exchange in bob.context(page=500)]
    assert sorted(kept) == list(range(1500))


async def test_a_slow_agent_hears_everything_in_order_and_stays_connected(place: Place) -> None:
    async with place.agent("ada") as ada, place.agent("bob", queue=30) as bob:
        inbox = bob.inbox()
        saying = asyncio.ensure_future(say_in_order(ada, 3000))
        got = []
        async with asyncio.timeout(2 * WAIT):
            async for message in inbox:
                got += numbers([message])
                assert len(bob.mailroom.inbox) <= 60 + 100  # And what one frame holds.
                if got[-1] % 500 == 0:
                    await bob.ask("ping")
                if got[-1] == 2999:
                    break
        await saying
    assert got == list(range(3000))


async def say_in_order(me: Agent, count: int) -> None:
    for n in range(count):
        await me.remember(f"{n}")


async def test_a_restarted_platform_on_another_port_is_found_again(place: Place) -> None:
    async with place.agent("ada") as ada, place.agent("bob") as bob:
        await ada.remember("1")
        await place.platform.kill_everything()
        waiting = asyncio.ensure_future(ada.remember("2"))
        await place.platform.start()
        await asyncio.wait_for(waiting, WAIT)
        assert await heard(bob, 2) == [1, 2]


async def test_a_log_made_anew_is_a_gap(place: Place) -> None:
    async with place.agent("ada") as ada:
        await place.platform.kill_everything()
        shutil.rmtree(place.data / "nats")
        await place.platform.start()
        async with asyncio.timeout(WAIT):
            notice = await ada.next()
        assert isinstance(notice, Gap)
        assert (await ada.remember("A new beginning.")).type == "accepted"
