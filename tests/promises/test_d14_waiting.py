"""D14: an agent may wait for an answer, and no wait closes a circle."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosed, InvalidMessage

from backchannel.client import Agent, MentionRoute
from backchannel.errors import WouldDeadlock
from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.bucket import Bucket, Value
from backchannel.jetstream.connection import Connection
from tests.eventually import eventually
from tests.promises.running import WAIT, Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def serving(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """Two bridges: whoever waits and whoever answers need not be at the same one."""
    data: Path = tmp_path_factory.mktemp("platform")
    running = await Platform(data).start("--bridges", "2")
    yield running
    assert await running.stop() == 0


async def begin(agent: Raw, **params: Any) -> str:
    """Begin to wait; the id of the query."""
    sent = await agent.send("query", query="wait_for", params=params)
    return str(sent["message_id"])


async def end(agent: Raw, query: str) -> Frame:
    return await agent.find(lambda told: told["type"] in ("result", "error") and told["in_reply_to"] == query)


async def waits(platform: Platform, *names: str) -> None:
    """Wait until these agents are known to wait."""
    user, password = Home(platform.data).nats_login("operator")
    async with await Connection.open(Address(platform.nats, user, password), name="test") as connection:
        entered, known = asyncio.Event(), set()

        def look(_: str, value: Value | None) -> None:
            known.clear()
            known.update(one[1] for one in json.loads(value.payload)) if value else None
            if known >= set(names):
                entered.set()

        tail = await Bucket(connection, "BC_waits").watch("main", look)
        await asyncio.wait_for(entered.wait(), WAIT)
        await tail.stop()


async def test_d14_an_answer_ends_the_wait_whether_it_comes_later_or_came_before(platform: Platform) -> None:
    ada, bob = await platform.agent("d14-ada"), await platform.agent("d14-bob")
    asked = await ada.ask("mention_route", target_agents=["d14-bob"], message="how many?")
    wait = await begin(ada, reply_to=asked["in_reply_to"], timeout=50)
    await bob.until("mention_route")
    said = await bob.ask(
        "memory_update", context_id="main", exchange={"content": "three"}, reply_to=asked["in_reply_to"]
    )
    told = await end(ada, wait)
    assert (told["status"], told["outcome"]) == ("success", "answered")
    assert told["event"]["exchange"]["content"] == "three"
    assert told["event"]["cursor"] == said["cursor"]
    for params in (
        {"reply_to": asked["in_reply_to"]},
        {"message_id": said["in_reply_to"], "from": "d14-bob"},
    ):
        again = await end(ada, await begin(ada, **params))
        assert again["event"]["message_id"] == said["in_reply_to"]


async def test_d14_a_wait_ends_in_time_and_asks_for_no_more_than_55_seconds(platform: Platform) -> None:
    ada = await platform.agent("d14-cid")
    told = await end(ada, await begin(ada, reply_to="nothing", timeout=0.2))
    assert (told["status"], told["outcome"], told["event"]) == ("success", "timed_out", None)
    for wrong in ({"reply_to": "x", "timeout": 56}, {"timeout": 5}, {"reply_to": "x", "timeout": 0}):
        assert (await end(ada, await begin(ada, **wrong)))["code"] == "bad_message"


async def test_d14_the_wait_that_would_close_a_circle_is_refused_and_names_it(platform: Platform) -> None:
    names = ["d14-one", "d14-two", "d14-three"]
    one, two, three = [await platform.agent(name) for name in names]
    first = await begin(one, **{"from": "d14-two", "timeout": 55})
    second = await begin(two, **{"from": "d14-three", "timeout": 55})
    await waits(platform, "d14-one", "d14-two")
    told = await end(three, await begin(three, **{"from": "d14-one", "timeout": 5}))
    assert told["code"] == "would_deadlock"
    assert "d14-three waits for d14-one waits for d14-two waits for d14-three" in told["message"]
    await three.ask("memory_update", context_id="main", exchange={"content": "go on"})
    assert (await end(two, second))["outcome"] == "answered"
    free = await end(three, await begin(three, **{"from": "d14-two", "timeout": 0.1}))
    assert free["type"] == "result", "an edge is gone with its answer"
    await two.ask("memory_update", context_id="main", exchange={"content": "go on"})
    assert (await end(one, first))["outcome"] == "answered"


async def test_d14_of_two_who_begin_to_wait_for_each_other_at_once_one_is_refused(platform: Platform) -> None:
    one, two = await platform.agent("d14-left"), await platform.agent("d14-right")
    for _ in range(3):
        begun = await asyncio.gather(
            begin(one, **{"from": "d14-right", "timeout": 55}),
            begin(two, **{"from": "d14-left", "timeout": 55}),
        )
        ends = [asyncio.create_task(end(*wait)) for wait in zip((one, two), begun, strict=True)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        refused = one if ends[0].done() else two
        await refused.send("memory_update", context_id="main", exchange={"content": "go on, then"})
        told = await asyncio.gather(*ends)
        assert sorted(str(frame.get("code") or frame.get("outcome")) for frame in told) == [
            "answered",
            "would_deadlock",
        ]


async def test_d14_whoever_leaves_waits_no_more(platform: Platform) -> None:
    one, two = await platform.agent("d14-gone"), await platform.agent("d14-here")
    await begin(one, **{"from": "d14-here", "timeout": 55})
    await waits(platform, "d14-gone")
    assert (await end(two, await begin(two, **{"from": "d14-gone", "timeout": 5})))["type"] == "error"
    one.socket.transport.abort()
    await until_it_may_wait(two, "d14-gone")


async def test_d14_a_wait_of_a_killed_bridge_lapses(platform: Platform) -> None:
    one = await platform.agent("d14-slain")
    await begin(one, **{"from": "d14-widow", "timeout": 55})
    two = await platform.agent("d14-widow")
    await waits(platform, "d14-slain")
    assert (await end(two, await begin(two, **{"from": "d14-slain", "timeout": 5})))["type"] == "error"
    platform.kill("-m bridge")
    await platform.part()
    back = await returned(platform, "d14-widow")
    await until_it_may_wait(back, "d14-slain")


async def test_d14_an_agent_waits_for_so_many_answers_at_a_time_and_what_it_may_not_see_ends_none(
    platform: Platform,
) -> None:
    ada, bob, eve = [await platform.agent(f"d14-{name}") for name in ("may", "tell", "not")]
    begun = [await begin(eve, reply_to=f"r{number}", timeout=5) for number in range(5)]
    assert (await end(eve, begun[-1]))["code"] == "queue_full"
    wait = await begin(eve, message_id="11111111-1111-4111-8111-111111111111", timeout=3)
    assert (await end(eve, wait))["code"] == "queue_full"
    private = await ada.ask("mention_route", target_agents=["d14-tell"], message="psst", reply_to="r0")
    await bob.until("mention_route")
    assert private["type"] == "accepted"
    assert (await end(eve, begun[0]))["outcome"] == "timed_out"


async def until_it_may_wait(agent: Raw, other: str) -> None:
    """No circle is in its way any more. Who asks in vain too often is turned away."""

    async def told() -> Frame:
        return await end(agent, await begin(agent, **{"from": other, "timeout": 0.1}))

    await eventually(told, lambda told: told["type"] != "error", pause=0.5)


async def returned(platform: Platform, name: str) -> Raw:
    """A connection, as soon as there is a bridge again."""
    async with asyncio.timeout(WAIT):
        while True:
            with contextlib.suppress(ConnectionClosed, OSError, InvalidMessage):
                return await platform.agent(name)
            await asyncio.sleep(0.1)


async def test_d14_the_sdk_consults_an_agent_and_tells_who_would_wait_in_a_circle(platform: Platform) -> None:
    bob = await platform.agent("d14-oracle")
    async with Agent.connect("d14-pupil", data=platform.data, patience=30) as ada:
        asking = asyncio.create_task(ada.consult("d14-oracle", "how many?", timeout=30))
        called = await bob.until("mention_route")
        await bob.ask(
            "mention_route", target_agents=["d14-pupil"], message="three", reply_to=called["message_id"]
        )
        told = await asking
        assert isinstance(told, MentionRoute) and told.message == "three"
        assert await ada.wait_for(reply_to="nothing", timeout=0.1) is None
        with pytest.raises(WouldDeadlock):
            await ada.wait_for(sender="d14-pupil", timeout=1)
