"""D2: an emergency overtakes what a bridge itself has not read yet, and costs nobody what it overtook."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pydantic_core
import pytest

from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.entry import MSG_ID, Entry
from backchannel.jetstream.publish import Publisher
from tests.build import content
from tests.promises.running import Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")
MANY = 30_000
SEEN = 100
"""Of so many events one is for our agents; the bridge has to read them all."""


def entry(where: str, kind: str, **fields: Any) -> Entry:
    message = content(kind, sender_agent_id="d2-writer", **fields)
    headers = {MSG_ID: f"d2-writer:{message['message_id']}"}
    return Entry(f"bc.main.evt.{where}", pydantic_core.to_json(message), headers)


async def write_much(publisher: Publisher, first: int) -> None:
    """What a frozen bridge will have to read, and an emergency behind it."""
    backlog = [
        entry("ctx.main.normal.memory", "memory_update", context_id="main", exchange={"content": str(number)})
        if number % SEEN == 0
        else entry(
            "inbox.d2-nobody.normal.mention", "mention_route", target_agents=["d2-nobody"], message="x"
        )
        for number in range(first, first + MANY)
    ]
    for start in range(0, MANY, 500):
        await asyncio.gather(*(publisher.store(one) for one in backlog[start : start + 500]))
    await publisher.store(
        entry("all.security_emergency.broadcast", "security_emergency", threat_type=f"fire {first}")
    )


def numbers(agent: Raw) -> list[int]:
    return [int(told["exchange"]["content"]) for told in agent.events("memory_update")]


async def test_d2_an_emergency_overtakes_what_the_bridge_has_not_read_yet_and_a_cut_there_loses_nothing(
    platform: Platform,
) -> None:
    staying, cut = [await platform.agent(name) for name in ("d2-staying", "d2-cut")]
    bridges = platform.children("-m bridge")
    user, password = Home(platform.data).nats_login("operator")
    async with await Connection.open(Address(platform.nats, user, password), name="operator") as connection:
        try:
            for pid in bridges:
                os.kill(pid, signal.SIGSTOP)
            await write_much(Publisher(connection), 0)
        finally:
            for pid in bridges:
                os.kill(pid, signal.SIGCONT)
    alarm = await cut.until("security_emergency")
    cut.socket.transport.abort()
    before = numbers(cut)
    expected = list(range(0, MANY, SEEN))
    assert before != expected, "the emergency came behind the backlog"
    back = await platform.enter(cut.token, resume={"cursor": alarm["cursor"]})
    await back.find(lambda frame: frame.get("exchange", {}).get("content") == str(expected[-1]))
    assert back.welcome["outcome"] == "resumed"
    assert sorted({*before, *numbers(back)}) == expected
    assert numbers(back) == sorted(set(numbers(back)))
    await staying.find(lambda frame: frame.get("exchange", {}).get("content") == str(expected[-1]))
    await staying.settled()
    assert numbers_before_marker(staying) == expected
    kinds = [frame["type"] for frame in staying.frames if "cursor" in frame]
    assert kinds.count("security_emergency") == 1
    assert kinds.index("security_emergency") < len(kinds) - 2
    assert len({frame["cursor"] for frame in staying.frames if "message_id" in frame}) == len(
        [frame for frame in staying.frames if "message_id" in frame]
    )


def numbers_before_marker(agent: Raw) -> list[int]:
    texts = [told["exchange"]["content"] for told in agent.events("memory_update")]
    return [int(text) for text in texts if text != "marker"]
