"""D13: large transfers are compressed for clients that offer it; who does not pays nothing."""

from __future__ import annotations

import asyncio
import re

import pytest
from websockets.asyncio.client import connect

from backchannel.client import Agent, MemoryUpdate
from tests.eventually import eventually
from tests.promises.http import fetch
from tests.promises.running import WAIT, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")
LARGE = "a large piece of shared memory, " * 3000


async def saved(platform: Platform) -> float:
    text = (await fetch(f"{platform.http}/metrics")).body
    found = re.search(r"^backchannel_deflated_bytes_total (\S+)$", text, re.MULTILINE)
    assert found is not None
    return float(found[1])


async def test_d13_one_large_event_is_compressed_once_for_all_who_offered_it(platform: Platform) -> None:
    sockets = [
        await connect(
            platform.ws,
            additional_headers={"X-Memory-Auth": platform.signed(f"d13-{number}")},
            compression="deflate",
            max_size=None,
            open_timeout=WAIT,
        )
        for number in range(3)
    ]
    squeezed = [Raw(socket, "") for socket in sockets]
    for agent in squeezed:
        await agent.hello()
    plain = await platform.agent("d13-plain")
    before = await saved(platform)
    sent = await plain.ask("memory_update", context_id="main", exchange={"content": LARGE})
    for agent in (*squeezed, plain):
        told = await agent.find(lambda frame: frame.get("cursor") == sent["cursor"] and "exchange" in frame)
        assert told["exchange"]["content"] == LARGE
    assert await saved(platform) - before > 2.5 * len(LARGE)
    for agent in squeezed:
        await agent.close()


async def test_d13_the_sdk_offers_it_on_demand(platform: Platform) -> None:
    before = await saved(platform)
    token = platform.signed("d13-sdk")
    async with Agent.connect("d13-sdk", url=platform.ws, token=token, compress=True) as me:
        inbox = me.inbox(own=True)

        async def heard() -> float:
            await me.remember(LARGE)
            async with asyncio.timeout(WAIT):
                message = await anext(inbox)
            assert isinstance(message, MemoryUpdate) and message.exchange.content == LARGE
            return await saved(platform)

        # A bridge that has been held up for long has no time to compress, until it has caught up.
        await eventually(heard, lambda now: now > before, pause=1.0)
