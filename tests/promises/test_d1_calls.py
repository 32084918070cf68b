"""Row D1: `@name` and `@specialty` in a text reach the inbox; unknown names are an error that names them."""

from __future__ import annotations

import pytest

from tests.promises.running import Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def opened(agent: Raw, *others: str) -> str:
    fields = {"parent_id": "main", "task_description": "look", "participants": list(others)}
    return str((await agent.result("sidebar_spawn", **fields))["sidebar_id"])


async def call(agent: Raw, message_id: str) -> Frame:
    """The mention that a text became."""
    return await agent.find(
        lambda frame: frame["type"] == "mention_route" and frame.get("in_message") == message_id
    )


async def test_who_is_called_in_a_text_finds_it_in_its_inbox(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    eve = await platform.agent("eve", intake={"specialties": ["tls"]})
    told = await ada.send("memory_update", context_id="main", exchange={"content": "@bob, ask @tls: `@nix`"})
    assert (await ada.answer_to(told["message_id"]))["type"] == "accepted"
    for one in (bob, eve):
        got = await call(one, told["message_id"])
        assert got["message"] == "@bob, ask @tls: `@nix`" and got["sender_agent_id"] == "ada"
        assert got["target_agents"] == ["bob", "eve"] and got["message_id"] != told["message_id"]
    assert (await ada.ask(**told, kind="memory_update"))["type"] == "duplicate_ack"


async def test_unknown_names_are_named_and_nothing_is_stored(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    sidebar = await opened(ada, "bob")
    refused = await ada.ask("sidebar_message", sidebar_id=sidebar, content="@bob and @nobdy, look")
    assert (refused["type"], refused["code"]) == ("error", "unknown_agent") and "nobdy" in refused["message"]
    kept = await ada.ask("sidebar_message", sidebar_id=sidebar, content="x@nobdy.org, `@nobdy`, \\@nobdy")
    assert kept["type"] == "accepted"
    await bob.settled()
    assert len(bob.events("sidebar_message")) == 1
    assert all(frame.get("sidebar_id") != sidebar for frame in bob.events("mention_route"))


async def test_whoever_is_not_in_the_sidebar_learns_only_that_it_was_called(platform: Platform) -> None:
    ada, bob, cleo = [await platform.agent(name) for name in ("ada", "bob", "cleo")]
    sidebar = await opened(ada, "bob")
    told = await ada.send("sidebar_message", sidebar_id=sidebar, content="@bob @cleo the key is 4711")
    got = await call(bob, told["message_id"])
    assert "4711" in got["message"] and got["sidebar_id"] == sidebar
    heard = await cleo.until("mention_route")
    assert heard["target_agents"] == ["cleo"] and heard["sender_agent_id"] == "ada"
    assert "4711" not in str(heard) and sidebar not in str(heard) and told["message_id"] not in str(heard)


async def test_a_text_and_its_calls_are_stored_together_and_wait_for_who_is_away(platform: Platform) -> None:
    ada, dan = await platform.agent("ada"), await platform.agent("dan")
    await dan.close()
    told = await ada.send(
        "memory_update", context_id="main", exchange={"content": "@dan come"}, priority="critical"
    )
    assert (await ada.answer_to(told["message_id"]))["type"] == "accepted"
    dan = await platform.agent("dan")
    assert (await call(dan, told["message_id"]))["priority"] == "urgent"


async def test_the_truck_calls_nobody(platform: Platform) -> None:
    ada = await platform.agent("ada")
    told = await ada.ask("memory_update", context_id="main", exchange={"content": "@infodumptruck please"})
    assert told["type"] == "accepted"
