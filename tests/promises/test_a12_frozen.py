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
from tests.promises.http import Answer, fetch
from tests.promises.native import Native
from tests.promises.running import WAIT, Frame, Platform

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
FROZEN = 3.5
"""Seconds for which a process is stopped: longer than one that is merely busy."""


async def stopped(platform: Platform, name: str, meanwhile: object, seconds: float = FROZEN) -> None:
    """Have something done while the processes of a name are stopped."""
    pids = platform.children(name)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        await meanwhile  # type: ignore[misc]
        await asyncio.sleep(seconds)  # it is the time that passes which the process must notice
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


async def test_a12_a_bridge_that_wakes_stores_nothing_over_http_that_was_sent_after_a_revocation(
    platform: Platform,
) -> None:
    witness = await platform.agent("z-reader")
    token = platform.signed("z-poster")
    assert (await fetch(f"{platform.http}/store", update("before"), X_Memory_Auth=token)).status == 200
    posts: list[asyncio.Task[Answer]] = []

    async def revoke_then_post() -> None:
        code, _, err = await platform.run("token", "revoke", "z-poster")
        assert code == 0, err
        post = fetch(f"{platform.http}/store", update("after"), X_Memory_Auth=token)
        posts.append(asyncio.create_task(post))

    await stopped(platform, "bridge", revoke_then_post())
    assert (await posts[0]).status in (401, 403)
    await witness.settled()
    said = [frame["exchange"]["content"] for frame in witness.events("memory_update")]
    assert "before" in said and "after" not in said


def update(text: str) -> Frame:
    return content("memory_update", context_id="main", exchange={"content": text})


async def test_c_nothing_is_said_in_a_sidebar_after_its_end_by_a_bridge_that_was_stopped_for_a_moment(
    platform: Platform,
) -> None:
    ada, bob = await platform.agent("z-ada"), await platform.agent("z-bob")
    for ending in ("archive", "merge"):
        spawned = await ada.result(
            "sidebar_spawn", parent_id="main", task_description="x", participants=["z-bob"]
        )
        sidebar = spawned["sidebar_id"]
        sent: list[str] = []

        async def end_then_say(ending: str = ending, sidebar: str = sidebar, sent: list[str] = sent) -> None:
            more = ("--text", "x") if ending == "merge" else ("--reason", "x")
            code, _, err = await platform.run("sidebars", ending, sidebar, *more)
            assert code == 0, err
            message = await ada.send("sidebar_message", sidebar_id=sidebar, content="after")
            sent.append(message["message_id"])

        await stopped(platform, "bridge", end_then_say(), 0.2)
        assert (await ada.answer_to(sent[0]))["code"] == "illegal_transition"
        await bob.settled()
        assert sent[0] not in {frame.get("message_id") for frame in bob.frames if "cursor" in frame}
