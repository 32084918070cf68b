"""Who comes back hears everything it missed, once, in order, and then what happens."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from backchannel.jetstream.answer import api
from tests.bridge.house.client import Client, eventually
from tests.bridge.house.conftest import Platform
from tests.build import content


def resume(client: Client, cursor: str | None = None, *, session: bool = True) -> dict[str, Any]:
    """The hello of somebody who was this client."""
    last = client.events[-1]["cursor"] if client.events else client.welcome["cursor"]
    found = {"cursor": cursor or last}
    return {"resume": found | ({"session": client.welcome["session"]} if session else {})}


@pytest.mark.parametrize("session", [True, False])
async def test_what_was_missed_is_replayed_from_the_cursor(platform: Platform, session: bool) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    heard = await ada.remember("heard")
    await bob.hears(heard["in_reply_to"])
    await bob.leave()
    for number in range(250):
        await ada.send(
            "memory_update", context_id="main", exchange={"content": (number and str(number)) or "0"}
        )
    await ada.remember("the end")
    again = await platform.agent("bob", **resume(bob, session=session))
    assert again.welcome["outcome"] == "resumed"
    assert again.welcome["resumed"] is True
    assert again.welcome["replaying"] == 251
    assert again.welcome["cursor"] == heard["cursor"]
    assert again.texts == [*map(str, range(250)), "the end"]
    sizes = [len(frame["events"]) for frame in again.frames if frame["type"] == "catch_up"]
    remaining = [frame["remaining"] for frame in again.frames if frame["type"] == "catch_up"]
    assert max(sizes) <= 100
    assert remaining[-1] == 0
    assert remaining == sorted(remaining, reverse=True)


async def test_without_a_cursor_it_goes_on_from_what_was_acknowledged(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    first, second = await ada.remember("one"), await ada.remember("two")
    await bob.hears(second["in_reply_to"])
    await bob.raw({"type": "ack", "cursor": first["cursor"]})
    await bob.alive()
    await bob.leave()
    again = await platform.agent("bob")
    assert again.welcome["outcome"] == "resumed"
    assert again.texts == ["two"]


async def test_an_acknowledgement_is_kept_by_a_bridge_that_stops(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    said = await ada.remember("one")
    await bob.hears(said["in_reply_to"])
    await bob.raw({"type": "ack", "cursor": said["cursor"]})
    await bob.alive()
    await platform.bridges[0].close()
    await platform.bridge()
    again = await platform.connect("bob", bridge=1)
    await again.live()
    assert again.texts == []
    assert again.welcome["cursor"] == said["cursor"]


async def test_nobody_acknowledges_what_it_was_not_given(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    said = await ada.remember("one")
    await bob.hears(said["in_reply_to"])
    epoch = said["cursor"].partition(".")[0]
    await bob.raw({"type": "ack", "cursor": f"{epoch}.999999"})
    await bob.alive()
    await bob.leave()
    await ada.remember("two")
    again = await platform.agent("bob")
    assert again.texts == ["two"]


async def test_what_waited_for_a_first_connection_survives_one_that_breaks(platform: Platform) -> None:
    ada = await platform.agent("ada")
    await platform.known("bob")
    await ada.remember("before bob was here")
    for number in range(3):
        await ada.ask("mention_route", target_agents=["bob"], message=str(number))
    bob = await platform.agent("bob")
    assert [event["message"] for event in bob.events] == ["0", "1", "2"]
    bob.vanish()
    await bob.closed()
    after = await ada.remember("after bob was here")
    again = await platform.agent(
        "bob", resume={"session": bob.welcome["session"], "cursor": bob.welcome["cursor"]}
    )
    assert [event.get("message") for event in again.events] == ["0", "1", "2", None]
    assert again.events[-1]["message_id"] == after["in_reply_to"]
    await again.leave()
    half = await platform.agent("bob", resume={"cursor": bob.events[1]["cursor"]})
    assert [event.get("message") for event in half.events] == ["2", None]


async def test_a_newcomer_reads_the_sidebars_it_was_brought_into(platform: Platform) -> None:
    ada = await platform.agent("ada")
    await platform.known("bob")
    await platform.life("logins", ["ada"])
    await ada.ask("sidebar_message", sidebar_id="logins", content="before")
    await platform.life("logins", ["ada", "bob"])
    await ada.ask("sidebar_message", sidebar_id="logins", content="for bob")
    await ada.remember("for everyone, before")
    bob = await platform.agent("bob")
    assert [event.get("content", event["type"]) for event in bob.events] == [
        "sidebar_status_update",
        "for bob",
    ]


async def test_a_replay_shows_no_sidebar_beyond_its_membership(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    start = await ada.remember("start")
    await bob.hears(start["in_reply_to"])
    await bob.leave()
    await platform.life("logins", ["ada"])
    await ada.ask("sidebar_message", sidebar_id="logins", content="before")
    await platform.life("logins", ["ada", "bob"])
    await ada.ask("sidebar_message", sidebar_id="logins", content="between")
    await platform.life("logins", ["ada"])
    await ada.ask("sidebar_message", sidebar_id="logins", content="after")
    again = await platform.agent("bob", **resume(bob))
    assert [event.get("content") for event in again.events] == [None, "between", None]
    assert again.welcome["replaying"] == 3


async def test_a_cursor_of_another_log_is_a_gap(platform: Platform) -> None:
    ada = await platform.agent("ada")
    await ada.remember("one")
    bob = await platform.agent("bob", resume={"cursor": "0a0a0a0a.0"})
    assert bob.welcome["outcome"] == "gap"
    assert bob.welcome["resumed"] is False
    assert bob.welcome["resume_failure"]
    assert bob.events == []
    after = await ada.remember("two")
    await bob.hears(after["in_reply_to"])


async def test_a_cursor_that_the_log_no_longer_reaches_is_a_gap(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    first = await ada.remember("one")
    await bob.hears(first["in_reply_to"])
    await bob.leave()
    for number in range(5):
        await ada.remember(str(number))
    await api(platform.connection, "STREAM.PURGE.BC_EVENTS_main", {"seq": 5})
    await platform.bridge()
    again = await platform.connect("bob", bridge=1)
    await again.live(**resume(bob))
    assert again.welcome["outcome"] == "gap"
    assert "oldest" in again.welcome["resume_failure"]


async def test_a_cursor_that_is_none_is_refused(platform: Platform) -> None:
    bob = await platform.connect("bob")
    await bob.raw({"type": "hello", "resume": {"cursor": "yesterday"}})
    assert (await bob.frame("error"))["field"] == "resume.cursor"
    assert await bob.closed() == 4400


async def test_what_lies_beyond_the_ring_comes_from_the_log(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    await bob.leave()
    for number in range(1500):
        message = content("memory_update", context_id="main", exchange={"content": str(number)})
        await platform.store("bc.main.evt.ctx.main.normal.memory", message)
    await ada.until(lambda one: len(one.texts) == 1500)
    ring = platform.bridges[0].house.feeds.by_group["main"].ring
    while len(ring) > 10:
        ring._forget_oldest()
    again = await platform.agent("bob", **resume(bob))
    assert again.texts == [str(number) for number in range(1500)]
    assert again.welcome["replaying"] == 1500


async def test_what_is_urgent_overtakes_a_long_catch_up_and_comes_once(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    await bob.leave()
    for number in range(400):
        message = content(
            "memory_update", context_id="main", exchange={"content": f"{number}" + "x" * 20_000}
        )
        await platform.store("bc.main.evt.ctx.main.normal.memory", message)
    await ada.until(lambda one: len(one.texts) == 400)
    slow = await platform.connect("bob")
    slow.socket.transport.pause_reading()
    await slow.raw({"type": "hello", **resume(bob)})
    house = platform.bridges[0].house
    await eventually(lambda: house.feeds.by_group["main"].fanout.returning)
    urgent = await ada.remember("fire", priority="critical")
    slow.socket.transport.resume_reading()
    await slow.frame("live")
    ids = [event["message_id"] for event in slow.events]
    assert ids.count(urgent["in_reply_to"]) == 1
    assert len(ids) == 401
    assert ids.index(urgent["in_reply_to"]) < 400
    assert [text[:3] for text in slow.texts if text != "fire"] == [f"{n}xxx"[:3] for n in range(400)]


async def test_a_resume_at_full_speed_has_no_gap_and_no_duplicate(bare: Platform) -> None:
    """Two writers never pause; a reader comes and goes at both bridges, as it likes."""
    platform = bare
    for _ in range(2):
        await platform.bridge(messages_per_second=1_000_000)
    writers = [await platform.agent("ada"), await platform.agent("bob")]
    chance = random.Random(5)
    over = asyncio.Event()

    async def write(client: Client) -> list[str]:
        sent = []
        while not over.is_set():
            sent.append(
                await client.send("memory_update", context_id="main", exchange={"content": "x" * 300})
            )
            if len(sent) % 20 == 0:
                await client.answer(sent[-1])
        await client.answer(sent[-1])
        return sent

    reader = await platform.agent("carol")
    first = reader.welcome["cursor"]
    writing = [asyncio.create_task(write(client)) for client in writers]
    heard: list[str] = []
    for turn in range(12):
        await asyncio.sleep(chance.uniform(0.0, 0.15))
        reader.vanish() if turn % 3 else await reader.leave()
        await reader.closed()
        heard += [event["message_id"] for event in reader.events]
        hello = resume(reader)
        again = await platform.connect("carol", bridge=turn % 2)
        await again.hello(**hello)
        if turn % 4:
            await again.frame("live")
        reader = again
    over.set()
    sent = [await one for one in writing]
    await reader.frame("live")
    for ids in sent:
        await reader.hears(ids[-1]) if ids[-1] not in heard else None
    heard += [event["message_id"] for event in reader.events]
    stored = [(record.headers or {})["Nats-Msg-Id"].partition(":")[2] for record in await platform.log()]
    assert heard == stored
    assert sorted(heard) == sorted(sent[0] + sent[1])
    witness = await platform.agent("dora", resume={"cursor": first})
    assert [event["message_id"] for event in witness.events] == stored
