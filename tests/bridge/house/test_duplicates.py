"""A message that is sent again has no second effect."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bridge.house.client import Client
from tests.bridge.house.conftest import Platform
from tests.build import content

KINDS: list[dict[str, Any]] = [
    content("memory_update", context_id="main", exchange={"content": "x"}),
    content("mention_route", target_agents=["bob"], message="x"),
    content("mention_route", target_agents=["bob", "carol"], message="x"),
    content("agent_presence", status="idle"),
    content("sidebar_spawn", parent_id="main", task_description="x"),
]


async def send(client: Client, message: dict[str, Any]) -> dict[str, Any]:
    seen = len(client.frames)
    await client.raw(message)
    found: dict[str, Any] = await client.until(
        lambda one: next((frame for frame in one.frames[seen:] if frame["type"] in ANSWERS), None)
    )
    return found


ANSWERS = ("accepted", "duplicate_ack", "error")


@pytest.mark.parametrize("message", KINDS, ids=lambda message: f"{message['type']}")
async def test_a_repetition_is_answered_as_one(platform: Platform, message: dict[str, Any]) -> None:
    await platform.known("bob", "carol")
    ada = await platform.agent("ada")
    assert (await send(ada, message))["type"] == "accepted"
    before = await platform.log()
    again = await send(ada, message)
    assert again["type"] == "duplicate_ack"
    assert again["original_message_id"] == message["message_id"]
    assert len(await platform.log()) == len(before)


async def test_a_repetition_is_noticed_after_a_reconnect_at_another_bridge(platform: Platform) -> None:
    await platform.bridge()
    ada = await platform.agent("ada")
    assert (await send(ada, KINDS[0]))["type"] == "accepted"
    await ada.leave()
    again = await platform.connect("ada", bridge=1)
    await again.live()
    assert (await send(again, KINDS[0]))["type"] == "duplicate_ack"


async def test_a_repetition_is_noticed_after_the_server_was_killed(platform: Platform) -> None:
    ada = await platform.agent("ada")
    assert (await send(ada, KINDS[0]))["type"] == "accepted"
    platform.server.kill()
    await platform.server.wait()
    await platform.server.start()
    assert (await send(ada, KINDS[0]))["type"] == "duplicate_ack"


async def test_an_id_counts_for_its_sender_only(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    assert (await send(ada, KINDS[0]))["type"] == "accepted"
    assert (await send(bob, KINDS[0]))["type"] == "accepted"


async def test_one_id_written_in_two_ways_is_one_id(platform: Platform) -> None:
    ada = await platform.agent("ada")
    message = content("memory_update", context_id="main", exchange={"content": "x"})
    assert (await send(ada, message))["type"] == "accepted"
    shouted = message | {"message_id": message["message_id"].upper()}
    again = await send(ada, shouted)
    assert again["type"] == "duplicate_ack"
    assert again["original_message_id"] == shouted["message_id"]


async def test_who_repeats_what_was_stored_before_it_had_to_leave_learns_that_it_was(
    platform: Platform,
) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    await platform.life("tls", ["ada", "bob"])
    said = content("sidebar_message", sidebar_id="tls", content="x")
    assert (await send(ada, said))["type"] == "accepted"
    await platform.life("tls", ["bob"])
    assert (await send(ada, said))["type"] == "duplicate_ack"
    assert (await send(ada, content("sidebar_message", sidebar_id="tls", content="y")))["code"] == "forbidden"
    assert (await send(bob, said | {"sender_agent_id": "bob"}))["type"] == "accepted"
    await platform.life("tls", [], status="archived")
    assert (await send(bob, said | {"sender_agent_id": "bob"}))["type"] == "duplicate_ack"
