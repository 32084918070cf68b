"""A14: what one agent sends over NATS, however much, neither gets past being kept out nor holds up others."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.page import page
from tests.build import content
from tests.promises.native import WAIT, Native
from tests.promises.running import Platform

pytestmark = pytest.mark.asyncio(loop_scope="module")
HEAP = 250


async def enter(platform: Platform, name: str) -> Native:
    return await Native.enter(platform.nats, name, platform.signed(name))


async def test_a14_a_connection_that_slipped_in_as_its_agent_was_kept_out_is_closed(
    platform: Platform,
) -> None:
    """It was let in by one process while another one found the flood, or a moment before."""
    native, other = await enter(platform, "slips-in"), await enter(platform, "stays-in")
    user, password = Home(platform.data).nats_login("platform")
    async with await Connection.open(Address(platform.nats, user, password), name="test") as connection:
        until = repr(time.time() + 60).encode()
        await Bucket(connection, "BC_native").put("main.barred.slips-in", until, ttl=60)
        await asyncio.wait_for(native.closed.wait(), WAIT)
    await other.say("memory_update", context_id="main", exchange={"content": "here"})
    await other.close()


async def test_a14_nobodys_command_waits_for_a_heap_of_anothers(platform: Platform) -> None:
    heaper, honest = await enter(platform, "heaps"), await platform.agent("asks-once")
    inbox = heaper.client.new_inbox()
    stored, told = asyncio.Event(), []

    async def heard(message: object) -> None:
        told.append(json.loads(message.data))  # type: ignore[attr-defined]
        if len(told) == HEAP:
            stored.set()

    await heaper.client.subscribe(inbox, cb=heard)
    for _ in range(HEAP):
        spawn = content("sidebar_spawn", parent_id="main", task_description="one of many", participants=[])
        await heaper.client.publish(heaper.subject("sidebar_spawn"), json.dumps(spawn).encode(), reply=inbox)
    await asyncio.wait_for(stored.wait(), WAIT)
    assert all("error" not in one for one in told), told[:3]
    made = await honest.result("sidebar_spawn", parent_id="main", task_description="one", participants=[])
    assert made["status"] == "success"
    user, password = Home(platform.data).nats_login("platform")
    async with await Connection.open(Address(platform.nats, user, password), name="test") as connection:
        decided = await page(connection, "BC_EVENTS_main", 0, filter="bc.main.evt.inbox.heaps.*.result")
    assert len(decided.records) < HEAP // 2
    await heaper.close()
