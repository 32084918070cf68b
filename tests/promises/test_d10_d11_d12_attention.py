"""Rows D10, D11, D12, D13 and A9: what a connection hears when, through a running platform."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from backchannel.client import Agent, MemoryUpdate
from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from tests.promises.running import WAIT, Frame, Platform, Raw, place, position

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def note(agent: Raw, topic: str | None, text: str, **fields: Any) -> Frame:
    exchange = {"content": text} | ({"topic": topic} if topic else {})
    return await agent.ask("memory_update", context_id="main", exchange=exchange, **fields)


async def post(agent: Raw, topic: str | None, *texts: str) -> None:
    """Many at once, without waiting for each."""
    sent = []
    for text in texts:
        exchange = {"content": text} | ({"topic": topic} if topic else {})
        sent.append(await agent.send("memory_update", context_id="main", exchange=exchange))
    for one in sent:
        assert (await agent.answer_to(one["message_id"]))["type"] == "accepted"


def texts(agent: Raw, sender: str) -> list[str]:
    found = [one for one in agent.events("memory_update") if one["sender_agent_id"] == sender]
    return [one["exchange"]["content"] for one in found]


# ---- D10


async def test_d10_who_is_focused_hears_its_areas_and_what_concerns_it(platform: Platform) -> None:
    ada = await platform.agent("f-ada")
    bob = await platform.agent("f-bob", subscription={"mode": "focused", "focus": ["tls-*"]})
    await note(ada, "db", "not mine")
    await note(ada, "tls-certificates", "mine")
    await note(ada, "db", "everybody's", priority="critical")
    await ada.ask("mention_route", target_agents=["f-bob"], message="you")
    await note(ada, None, "nobody's")
    await bob.settled()
    assert texts(bob, "f-ada") == ["mine", "everybody's"]
    assert [told["message"] for told in bob.events("mention_route")] == ["you"]


async def test_d10_a_subscription_changes_in_mid_stream_without_a_gap(platform: Platform) -> None:
    ada, bob = await platform.agent("m-ada"), await platform.agent("m-bob")
    said = [f"{topic}{number}" for number in range(10) for topic in ("a", "b")]
    for number, text in enumerate(said):
        if number == 6:
            changed = await bob.result("subscription_update", mode="focused", focus=["a"])
            assert changed["status"] == "success"
        if number == 14:
            await bob.result("subscription_update", mode="everything")
        await note(ada, text[0], text)
    await bob.settled()
    assert texts(bob, "m-ada") == [
        text for number, text in enumerate(said) if text[0] == "a" or not 6 <= number < 14
    ]


async def test_d10_the_same_choice_holds_for_what_is_replayed(platform: Platform) -> None:
    ada, bob = await platform.agent("r-ada"), await platform.agent("r-bob")
    await bob.send_raw({"type": "ack", "cursor": bob.welcome["cursor"]})
    await bob.close()
    for topic in ("tls", "db", "tls", "db"):
        await note(ada, topic, topic)
    back = await platform.enter(bob.token, subscription={"mode": "focused", "focus": ["tls"]})
    assert back.welcome["replaying"] == 2 and texts(back, "r-ada") == ["tls", "tls"]
    await back.send_raw({"type": "ack", "cursor": (await note(ada, "tls", "later"))["cursor"]})
    await back.settled()
    await back.close()
    again = await platform.enter(bob.token)  # what was not wanted then counts as done
    assert "db" not in texts(again, "r-ada") and "tls" not in texts(again, "r-ada")


async def test_d10_without_peripheral_awareness_the_surroundings_are_silent(platform: Platform) -> None:
    ada = await platform.agent("p-ada")
    bob = await platform.agent("p-bob", subscription={"peripheral_awareness": False, "focus": ["tls"]})
    await ada.ask("agent_presence", status="working")
    await note(ada, "db", "murmur", priority="background")
    await note(ada, "tls", "murmur of mine", priority="background")
    await note(ada, "db", "said aloud")
    await bob.settled()
    assert texts(bob, "p-ada") == ["murmur of mine", "said aloud"]
    assert not bob.events("agent_presence")


async def test_d10_everything_is_never_more_than_an_agent_may_see(platform: Platform) -> None:
    ada, bob = await platform.agent("e-ada"), await platform.agent("e-bob")
    eve = await platform.agent("e-eve", subscription={"mode": "everything", "focus": ["e-ada", "*"]})
    opened = await ada.result(
        "sidebar_spawn", parent_id="main", task_description="secret", participants=["e-bob"]
    )
    await ada.ask("sidebar_message", sidebar_id=opened["sidebar_id"], content="secret")
    await ada.ask("mention_route", target_agents=["e-bob"], message="secret")
    await bob.until("sidebar_message")
    await eve.settled()
    assert "secret" not in str(eve.frames)


# ---- D11


async def test_d11_a_burst_to_one_topic_becomes_few_frames_with_all_of_it(platform: Platform) -> None:
    ada, bob = await platform.agent("c-ada"), await platform.agent("c-bob")
    said = [str(number) for number in range(60)]
    await post(ada, "load", *said)
    await bob.find(lambda frame: frame.get("exchange", {}).get("content") == "59")
    assert texts(bob, "c-ada") == said
    assert bob.coalesced and {frame["topic"] for frame in bob.coalesced} == {"load"}
    assert all(frame["count"] == len(frame["updates"]) > 1 for frame in bob.coalesced)
    single = len(said) - sum(frame["count"] for frame in bob.coalesced)
    assert len(bob.coalesced) + single < len(said) / 2
    positions = [position(one) for one in bob.events("memory_update")]
    assert positions == sorted(set(positions))


async def test_d11_what_is_critical_or_has_no_topic_comes_by_itself_and_nothing_after_it_before(
    platform: Platform,
) -> None:
    ada, bob = await platform.agent("u-ada"), await platform.agent("u-bob")
    await post(ada, "load", "1", "2", "3")
    await note(ada, "load", "now", priority="critical")
    await post(ada, None, "x", "y")
    await bob.find(lambda frame: frame.get("exchange", {}).get("content") == "y")
    inside = [one["exchange"]["content"] for frame in bob.coalesced for one in frame["updates"]]
    assert not {"now", "x", "y"} & set(inside)
    assert texts(bob, "u-ada") == ["1", "2", "3", "now", "x", "y"]


async def test_d11_who_goes_while_updates_are_held_resumes_with_all_of_them(platform: Platform) -> None:
    ada, bob = await platform.agent("h-ada"), await platform.agent("h-bob")
    await note(ada, "load", "0")
    seen = await bob.find(lambda frame: frame.get("exchange", {}).get("content") == "0")
    await post(ada, "load", "1", "2", "3")
    await bob.close()
    back = await platform.enter(bob.token, resume={"cursor": seen["cursor"]})
    await back.settled()
    assert texts(back, "h-ada") == ["1", "2", "3"]


async def test_d11_the_sdk_gives_its_user_every_update_by_itself_and_in_order(platform: Platform) -> None:
    ada = await platform.agent("k-ada")
    said = [str(number) for number in range(40)]
    async with Agent.connect("k-bob", token=platform.signed("k-bob"), url=platform.ws) as bob:
        await post(ada, "load", *said)
        heard: list[str] = []
        async with asyncio.timeout(WAIT):
            async for message in bob.inbox():
                if isinstance(message, MemoryUpdate):
                    heard.append(str(message.exchange.content))
                if len(heard) == len(said):
                    break
        assert heard == said and not bob.continuity.mismatches


# ---- D12, D13


async def slow(agent: Raw, way: str, mbps: float = 0.5, **fields: Any) -> None:
    answer = await agent.result("quality_update", slow_connection=way, mbps=mbps, **fields)
    assert answer["status"] == "success"


async def test_d12_a_slow_line_gets_what_is_critical_at_once_and_the_rest_every_five_seconds(
    platform: Platform,
) -> None:
    ada, bob = await platform.agent("s-ada"), await platform.agent("s-bob")
    await slow(bob, "critical_only", required_data=["alarm"])
    await post(ada, None, "1", "2")
    await note(ada, "alarm", "required")
    await note(ada, None, "urgent", priority="critical")
    await ada.ask("mention_route", target_agents=["s-bob"], message="you")
    await bob.until("mention_route")
    assert texts(bob, "s-ada") == ["required", "urgent"] and not bob.together
    await bob.find(lambda frame: frame.get("exchange", {}).get("content") == "2")
    assert bob.together and texts(bob, "s-ada") == ["required", "urgent", "1", "2"]


async def test_d12_what_overtook_on_a_slow_line_is_no_place_to_lose_anything(platform: Platform) -> None:
    ada, bob = await platform.agent("o-ada"), await platform.agent("o-bob")
    await slow(bob, "full_delayed")
    await note(ada, None, "held")
    await ada.ask("mention_route", target_agents=["o-bob"], message="ahead")
    ahead = await bob.until("mention_route")
    await bob.send_raw({"type": "ack", "cursor": ahead["cursor"]})
    await bob.close()
    shown = await platform.enter(bob.token, resume={"cursor": ahead["cursor"]})
    await shown.settled()
    assert texts(shown, "o-ada") == ["held"]
    await shown.close()
    kept = await platform.enter(bob.token)
    await kept.settled()
    assert texts(kept, "o-ada") == ["held"]


async def test_d12_full_delayed_comes_in_one_batch_in_order_when_the_line_is_good_again(
    platform: Platform,
) -> None:
    ada, bob = await platform.agent("b-ada"), await platform.agent("b-bob")
    await slow(bob, "full_delayed")
    said = [str(number) for number in range(8)]
    await post(ada, None, *said)
    assert not texts(bob, "b-ada")
    await slow(bob, "full_delayed", mbps=20)
    await note(ada, None, "after")
    await bob.find(lambda frame: frame.get("exchange", {}).get("content") == "after")
    assert bob.together == 1 and texts(bob, "b-ada") == [*said, "after"]


async def test_d12_summaries_say_how_much_of_what_and_all_of_it_can_be_fetched(platform: Platform) -> None:
    ada = await platform.agent("y-ada")
    bob = await platform.agent("y-bob", quality={"slow_connection": "summaries", "mbps": 0.2})
    await post(ada, "tls", "1", "2")
    await post(ada, "db", "3")
    told = await bob.until("summary")  # after ten seconds
    assert told["count"] == 3 and told["types"] == {"memory_update": 3} and told["contexts"] == {"main": 3}
    assert {topic: count for topic, (count, _) in told["topics"].items()} == {"tls": 2, "db": 1}
    assert not texts(bob, "y-ada")
    await bob.result("infodump", since=told["from"], until=told["to"])
    page = await bob.find(lambda frame: frame["type"] == "catch_up")
    assert [one["exchange"]["content"] for one in page["events"]] == ["1", "2", "3"]
    await bob.send_raw({"type": "ack", "cursor": told["to"]})
    await bob.send_raw({"type": "ping"})
    await bob.until("pong")
    await bob.close()
    again = await platform.enter(bob.token)
    assert not texts(again, "y-ada")


# ---- A9


@pytest_asyncio.fixture(loop_scope="module")
async def warming(tmp_path: Path) -> AsyncIterator[Platform]:
    """A platform on which newcomers begin slowly."""
    running = await Platform(tmp_path / "data").start()
    user, password = Home(running.data).nats_login("operator")
    async with await Connection.open(Address(running.nats, user, password), name="operator") as connection:
        await Bucket(connection, "BC_config").put("warmup.stages", b"[3, 3, 1]")
    assert await running.stop() == 0
    await running.start()
    yield running
    await running.part()
    await running.stop()


async def test_a9_a_newcomer_hears_presence_first_then_updates_then_what_was_before(
    warming: Platform,
) -> None:
    ada = await warming.agent("ada")
    token = await warming.token("bob")
    opened = await ada.result("sidebar_spawn", parent_id="main", task_description="x", participants=["bob"])
    await ada.ask("sidebar_message", sidebar_id=opened["sidebar_id"], content="before")
    await ada.ask("mention_route", target_agents=["bob"], message="waiting")
    bob = await warming.enter(token)
    await note(ada, None, "update")
    await note(ada, None, "urgent", priority="critical")
    await ada.ask("agent_presence", status="working")
    await bob.until("agent_presence")
    heard = [frame["type"] for frame in bob.frames if "message_id" in frame and "cursor" in frame]
    assert heard.count("mention_route") == 1 and "sidebar_message" not in heard
    assert texts(bob, "ada") == ["urgent"]
    await bob.find(lambda frame: frame.get("exchange", {}).get("content") == "update")
    assert not bob.events("sidebar_message")
    assert (await bob.until("sidebar_message"))["content"] == "before"
    now = place(await note(ada, None, "now"))
    assert place(await bob.find(lambda frame: frame.get("exchange", {}).get("content") == "now")) == now


async def test_a9_warming_up_is_for_newcomers_and_for_those_who_ask(platform: Platform) -> None:
    ada = await platform.agent("w-ada")
    bob = await platform.agent("w-bob", intake={"warmup": True})
    await note(ada, None, "held")
    await ada.ask("mention_route", target_agents=["w-bob"], message="you")
    mention = await bob.until("mention_route")
    assert not texts(bob, "w-ada")
    await bob.close()
    back = await platform.enter(bob.token, intake={"warmup": True}, resume={"cursor": mention["cursor"]})
    await back.settled()
    assert texts(back, "w-ada") == ["held"]
