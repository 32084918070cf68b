"""A7, A10, C15: agents that speak NATS themselves, with the same token, and what they see of the log."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import nats.errors
import pytest
import pytest_asyncio
from websockets.exceptions import InvalidStatus

from backchannel.protocol.presence import AgentPresence
from tests.build import content
from tests.promises.native import WAIT, Native
from tests.promises.running import Platform

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The client library of NATS leaves the sockets of refused attempts to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
HOPS = 16
PRESENCE = AgentPresence.model_validate(content("agent_presence", status="idle")).lane.value


@pytest_asyncio.fixture(loop_scope="module")
async def natives(platform: Platform) -> AsyncIterator[list[Native]]:
    opened: list[Native] = []
    yield opened
    for native in opened:
        await native.close()


async def enter(platform: Platform, natives: list[Native], name: str, **claims: object) -> Native:
    native = await Native.enter(platform.nats, name, platform.signed(name, **claims))
    natives.append(native)
    return native


async def test_a7_a_native_agent_and_one_at_the_bridge_talk_to_each_other(
    platform: Platform, natives: list[Native]
) -> None:
    ada, ben = await enter(platform, natives, "n-ada"), await platform.agent("n-ben")
    said = await ada.say("memory_update", context_id="main", exchange={"content": "over NATS"})
    assert said["ack"].stream == "BC_COMMANDS" and not said["ack"].duplicate
    heard = await ben.find(lambda frame: frame.get("message_id") == said["message_id"])
    assert heard["sender_agent_id"] == "n-ada"
    answer = await ben.send("memory_update", context_id="main", exchange={"content": "over the bridge"})
    assert (await ada.hears(answer["message_id"]))["sender_agent_id"] == "n-ben"
    asked = await ada.ask("agents")
    assert {"n-ada", "n-ben"} <= {agent["agent_id"] for agent in asked["agents"]}


async def test_a7_the_same_message_over_both_ways_is_stored_once(
    platform: Platform, natives: list[Native]
) -> None:
    ada = await enter(platform, natives, "n-once")
    here, witness = await platform.agent("n-once"), await platform.agent("n-witness")
    said = await ada.say("memory_update", context_id="main", exchange={"content": "once"})
    await witness.find(lambda frame: frame.get("message_id") == said["message_id"])
    again = {name: value for name, value in said.items() if name != "ack"}
    await here.send_raw(again)
    assert (await here.answer_to(said["message_id"]))["type"] == "duplicate_ack"
    repeated = await ada.offer(ada.subject("memory_update"), again)
    assert repeated["duplicate"] is True


async def test_b6_native_agents_that_answer_each_other_without_end_are_parked_and_their_human_is_told(
    platform: Platform, natives: list[Native]
) -> None:
    human = await platform.agent("n-human", permission="observer")
    pair = [await enter(platform, natives, name, human_partner="n-human") for name in ("n-ping", "n-pong")]
    last = await pair[0].say("memory_update", context_id="main", exchange={"content": "and you?"})
    for hop in range(1, HOPS + 2):
        speaker = pair[hop % 2]
        await speaker.hears(last["message_id"])
        cause = last["message_id"]
        last = await speaker.say(
            "memory_update", context_id="main", exchange={"content": "and you?"}, causation_id=cause
        )
    refused = await speaker.result_of(last["message_id"])
    assert (refused["status"], refused["code"]) == ("failed", "quarantined")
    told = await human.until("message_quarantined")
    assert (told["original_message_id"], told["agents"]) == (last["message_id"], ["n-ping", "n-pong"])
    [kept] = [one for one in await platform.json("quarantine", "ls") if one["sender"] == speaker.name]
    assert kept["hops"] == HOPS + 1
    fresh = await pair[0].say("memory_update", context_id="main", exchange={"content": "something else"})
    await human.find(lambda frame: frame.get("message_id") == fresh["message_id"])
    assert last["message_id"] not in {event["message_id"] for event in human.events("memory_update")}


async def test_b3_the_same_state_said_again_over_nats_reaches_nobody(
    platform: Platform, natives: list[Native]
) -> None:
    ada, ben = await enter(platform, natives, "n-same"), await platform.agent("n-looker")
    for status in ("working", "working", "idle", "idle", "working"):
        await ada.say("agent_presence", lane=PRESENCE, status=status)
    said = await ada.say("memory_update", lane="normal", context_id="main", exchange={"content": "after"})
    await ben.find(lambda frame: frame.get("message_id") == said["message_id"])
    async with asyncio.timeout(WAIT):
        while len(heard := [one for one in ben.events("agent_presence") if one["agent_id"] == "n-same"]) < 3:
            await ben.frame()
    assert [one["status"] for one in heard] == ["working", "idle", "working"]


async def test_a7_what_needs_deciding_is_decided_and_its_result_comes_to_the_inbox(
    platform: Platform, natives: list[Native]
) -> None:
    ada, ben = await enter(platform, natives, "n-spawner"), await platform.agent("n-guest")
    spawned = await ada.say(
        "sidebar_spawn", parent_id="main", task_description="look", participants=["n-guest"]
    )
    result = await ada.result_of(spawned["message_id"])
    assert result["status"] == "success"
    said = await ben.send("sidebar_message", sidebar_id=result["sidebar_id"], content="in here")
    assert (await ada.hears(said["message_id"]))["content"] == "in here"


async def test_c15_who_joins_sees_nothing_from_before_and_who_leaves_nothing_from_after(
    platform: Platform, natives: list[Native]
) -> None:
    """With everything in the log before the agent reads a word of it, and all at once."""
    ada = await enter(platform, natives, "n-late")
    host = await platform.agent("n-host")
    spawned = await host.result("sidebar_spawn", parent_id="main", task_description="t", participants=[])
    sidebar = spawned["sidebar_id"]

    async def speak(text: str) -> None:
        answer = await host.ask("sidebar_message", sidebar_id=sidebar, content=text)
        assert answer["type"] == "accepted"

    await speak("before 1")
    await speak("before 2")
    assert (await host.result("sidebar_invite", sidebar_id=sidebar, agents=["n-late"]))["status"] == "success"
    await speak("within 1")
    await host.ask("memory_update", context_id="main", exchange={"content": "main within"})
    await speak("within 2")
    left = await ada.say("sidebar_leave", sidebar_id=sidebar)
    result_at = await host.find(
        lambda frame: frame.get("type") == "sidebar_leave" and frame.get("message_id") == left["message_id"]
    )
    assert result_at["sidebar_id"] == sidebar
    await speak("after 1")
    assert (await host.result("sidebar_invite", sidebar_id=sidebar, agents=["n-late"]))["status"] == "success"
    await speak("again within")
    end = await host.send("memory_update", context_id="main", exchange={"content": "the end"})
    await ada.hears(end["message_id"])
    assert ada.contents() == ["within 1", "main within", "within 2", "again within", "the end"]
    # And while it reads, as it happens.
    away = await ada.say("sidebar_leave", sidebar_id=sidebar)
    await host.find(lambda frame: frame.get("message_id") == away["message_id"])
    await speak("after 2")
    last = await host.send("memory_update", context_id="main", exchange={"content": "the very end"})
    await ada.hears(last["message_id"])
    assert ada.contents()[5:] == ["the very end"]


async def test_c15_unacknowledged_messages_survive_a_turn_over_foreign_history(
    platform: Platform, natives: list[Native]
) -> None:
    ada, host = await enter(platform, natives, "n-slow"), await platform.agent("n-host-2")
    spawned = await host.result("sidebar_spawn", parent_id="main", task_description="t", participants=[])
    sidebar = spawned["sidebar_id"]
    kept = await host.send("memory_update", context_id="main", exchange={"content": "kept"})
    for number in range(3):
        await host.ask("sidebar_message", sidebar_id=sidebar, content=f"before {number}")
    pulls = await ada.client.jetstream().pull_subscribe_bind("agent-n-slow", "BC_EVENTS_main")
    (first,) = await pulls.fetch(1, timeout=WAIT)
    while json.loads(first.data).get("message_id") != kept["message_id"]:
        await first.ack_sync(WAIT)
        (first,) = await pulls.fetch(1, timeout=WAIT)
    await host.result("sidebar_invite", sidebar_id=sidebar, agents=["n-slow"])
    await host.ask("sidebar_message", sidebar_id=sidebar, content="within")
    end = await host.send("memory_update", context_id="main", exchange={"content": "end"})
    await ada.hears(end["message_id"])
    assert ada.contents() == ["within", "end"]
    await first.nak()
    (again,) = await pulls.fetch(1, timeout=WAIT)
    assert json.loads(again.data)["message_id"] == kept["message_id"]
    await again.ack_sync(WAIT)


async def test_a7_what_is_admitted_nowhere_else_is_not_admitted_here(
    platform: Platform, natives: list[Native]
) -> None:
    ada, host = await enter(platform, natives, "n-outsider"), await platform.agent("n-host-3")
    spawned = await host.result("sidebar_spawn", parent_id="main", task_description="t", participants=[])
    said = await ada.say("sidebar_message", sidebar_id=spawned["sidebar_id"], content="let me in")
    refused = await ada.result_of(said["message_id"])
    assert (refused["status"], refused["code"]) == ("denied", "forbidden")
    called = await ada.say("memory_update", context_id="main", exchange={"content": "look, @n-host-3"})
    heard = await host.find(lambda frame: frame.get("in_message") == called["message_id"])
    assert heard["sender_agent_id"] == "n-outsider"
    mention = await ada.say("mention_route", target_agents=["nobody-at-all"], message="hello")
    assert (await ada.result_of(mention["message_id"]))["code"] == "unknown_agent"
    asked = await ada.ask("context", context_id=spawned["sidebar_id"])
    assert (asked["status"], asked["code"]) == ("denied", "forbidden")


async def test_a7_an_emergency_needs_the_claim_and_its_own_lane(
    platform: Platform, natives: list[Native]
) -> None:
    calm = await enter(platform, natives, "n-calm")
    subject = calm.subject("security_emergency", "security_emergency")
    await calm.client.publish(subject, json.dumps(content("security_emergency")).encode())
    assert "permissions violation for publish" in await asyncio.wait_for(calm.complaints.get(), WAIT)
    alarmed = await enter(platform, natives, "n-alarmed", lanes=["security_emergency"])
    said = await alarmed.say("security_emergency", "security_emergency", threat_type="a break-in")
    heard = await calm.hears(said["message_id"])
    assert heard["type"] == "security_emergency_broadcast"


async def test_a7_a_token_that_is_not_believed_opens_nothing(platform: Platform) -> None:
    good = platform.signed("n-good")
    for name, token in (
        ("n-good", good[:-2]),
        ("n-good", ""),
        ("n-other", good),
        ("n-good", platform.signed("n-good", exp=int(time.time()) - 1)),
        ("n-good", platform.signed("n-good", collaboration_group="elsewhere")),
        ("platform", platform.signed("platform")),
        ("operator", ""),
        ("backchannel", platform.signed("backchannel")),
    ):
        with pytest.raises((nats.errors.Error, OSError)):
            await Native.enter(platform.nats, name, token)


async def test_a3_a_nonce_is_good_for_one_connection_over_nats_and_websocket_together(
    platform: Platform, natives: list[Native]
) -> None:
    token = platform.signed("n-once", nonce="one-of-both-doors")
    natives.append(await Native.enter(platform.nats, "n-once", token))
    with pytest.raises((nats.errors.Error, OSError)):
        await Native.enter(platform.nats, "n-once", token)
    late = await platform.connect(token)
    await late.send_raw({"type": "hello"})
    assert await late.closed() == 4403


async def test_a3_where_bearer_tokens_are_switched_off_neither_door_takes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKCHANNEL_BEARER_TOKENS", "false")
    strict = await Platform(tmp_path / "data").start()
    try:
        with pytest.raises((nats.errors.Error, OSError)):
            await Native.enter(strict.nats, "n-strict", strict.signed("n-strict"))
        with pytest.raises(InvalidStatus):
            await strict.connect(strict.signed("n-strict"))
        native = await Native.enter(strict.nats, "n-strict", strict.signed("n-strict", nonce="just-once"))
        await native.close()
    finally:
        await strict.stop()


async def test_a7_a_connection_ends_when_its_token_expires(platform: Platform, natives: list[Native]) -> None:
    ada = await enter(platform, natives, "n-brief", exp=int(time.time()) + 5)
    await asyncio.wait_for(ada.closed.wait(), WAIT)


async def test_a10_revoked_tokens_end_native_connections_and_open_no_new_ones(
    platform: Platform, natives: list[Native]
) -> None:
    ada = await enter(platform, natives, "n-revoked", iat=int(time.time()) - 5)
    code, _, err = await platform.run("token", "revoke", "n-revoked")
    assert code == 0, err
    await asyncio.wait_for(ada.closed.wait(), WAIT)
    with pytest.raises((nats.errors.Error, OSError)):
        await enter(platform, natives, "n-revoked", iat=int(time.time()) - 5)
