"""A12: what was decided while a process was stopped counts for all that came in meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from contextlib import suppress

import nats.errors
import pytest

from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.connection import Connection
from backchannel.service.rights import Rights
from tests.build import content
from tests.promises.native import Native
from tests.promises.running import WAIT, Platform

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
FROZEN = 3.5
"""Seconds for which a process is stopped: longer than one that is merely busy."""


async def stopped(platform: Platform, name: str, meanwhile: object) -> None:
    """Have something done while the processes of a name are stopped."""
    pids = platform.children(name)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        await meanwhile  # type: ignore[misc]
        await asyncio.sleep(FROZEN)  # it is the time that passes which the process must notice
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def test_a12_a_bridge_that_wakes_lets_nobody_say_what_was_sent_after_a_revocation(
    platform: Platform,
) -> None:
    witness = await platform.agent("z-witness")
    thief = await platform.agent("z-thief")
    sent: list[str] = []

    async def revoke_then_send() -> None:
        code, _, err = await platform.run("token", "revoke", "z-thief")
        assert code == 0, err
        message = await thief.send("memory_update", context_id="main", exchange={"content": "still here"})
        sent.append(message["message_id"])

    await stopped(platform, "bridge", revoke_then_send())
    assert await thief.closed() == 4403
    await witness.settled()
    assert sent[0] not in {frame.get("message_id") for frame in witness.frames}


async def test_a12_handlers_that_wake_take_nothing_that_was_published_after_a_revocation(
    platform: Platform,
) -> None:
    witness = await platform.agent("z-watcher")
    native = await Native.enter(platform.nats, "z-native", platform.signed("z-native"))
    sent = content("memory_update", context_id="main", exchange={"content": "still here"})

    async def revoke_then_publish() -> None:
        user, password = Home(platform.data).nats_login("platform")  # the command line needs handlers for it
        async with await Connection.open(Address(platform.nats, user, password), name="test") as connection:
            later = int(time.time()) + 60
            await Rights(connection).put("main", "z-native", by="op", reason="A test.", revoked_before=later)
        with suppress(nats.errors.Error):
            await native.client.publish(native.subject("memory_update"), json.dumps(sent).encode())
            await native.client.flush(WAIT)

    await stopped(platform, "handlers", revoke_then_publish())
    await asyncio.wait_for(native.closed.wait(), WAIT)
    await witness.settled()
    assert sent["message_id"] not in {frame.get("message_id") for frame in witness.frames}
