"""What one agent says reaches those whom it is for, and nobody else."""

from __future__ import annotations

import json

import pydantic_core
import pytest

from backchannel.jetstream.publish import Entry
from backchannel.jetstream.read import last
from tests.bridge.house.conftest import Platform
from tests.build import content


async def test_two_agents_exchange_memory_updates(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    accepted = await ada.remember("The certificate expires on Friday.", trace="kept")
    assert accepted["type"] == "accepted"
    heard = await bob.hears(accepted["in_reply_to"])
    assert heard["exchange"] == {"content": "The certificate expires on Friday."}
    assert heard["sender_agent_id"] == "ada"
    assert heard["cursor"] == accepted["cursor"]
    assert heard["trace"] == "kept"
    assert await ada.hears(accepted["in_reply_to"]) == heard


async def test_agents_at_different_bridges_hear_each_other(platform: Platform) -> None:
    await platform.bridge()
    ada, bob = await platform.connect("ada"), await platform.connect("bob", bridge=1)
    await ada.live()
    await bob.live()
    for speaker, listener in ((ada, bob), (bob, ada)):
        accepted = await speaker.remember("Hello.")
        await listener.hears(accepted["in_reply_to"])


async def test_events_of_one_sender_come_in_the_order_in_which_they_were_sent(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    for number in range(300):
        await ada.send("memory_update", context_id="main", exchange={"content": str(number)})
    await bob.until(lambda one: len(one.texts) >= 300)
    assert bob.texts == [str(number) for number in range(300)]


async def test_a_sidebar_is_heard_by_its_participants_only(platform: Platform) -> None:
    ada, bob, eve = [await platform.agent(name) for name in ("ada", "bob", "eve")]
    await platform.life("logins", ["ada", "bob"])
    said = await ada.ask("sidebar_message", sidebar_id="logins", content="Three came from one address.")
    await bob.hears(said["in_reply_to"])
    public = await ada.remember("Something for everyone.")
    await eve.hears(public["in_reply_to"])
    assert eve.texts == ["Something for everyone."]
    assert [event["type"] for event in eve.events] == ["memory_update"]


async def test_who_comes_in_hears_from_the_event_that_brought_it_in(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    await platform.life("logins", ["ada"])
    await ada.ask("sidebar_message", sidebar_id="logins", content="before")
    await platform.life("logins", ["ada", "bob"])
    await ada.ask("sidebar_message", sidebar_id="logins", content="between")
    await platform.life("logins", ["ada"])
    await ada.ask("sidebar_message", sidebar_id="logins", content="after")
    end = await ada.remember("the end")
    await bob.hears(end["in_reply_to"])
    assert [event.get("members", event.get("content")) for event in bob.events] == [
        ["ada", "bob"],
        "between",
        ["ada"],
        None,
    ]


async def test_a_token_that_names_a_sidebar_hears_it_without_being_in_it(platform: Platform) -> None:
    ada = await platform.agent("ada")
    eve = await platform.agent("eve", claims={"sidebar_access": ["logins"]})
    await platform.life("logins", ["ada"])
    said = await ada.ask("sidebar_message", sidebar_id="logins", content="x")
    await eve.hears(said["in_reply_to"])
    refused = await eve.ask("sidebar_message", sidebar_id="logins", content="y")
    assert refused["code"] == "forbidden"


async def test_groups_do_not_hear_each_other(platform: Platform) -> None:
    ada = await platform.agent("ada")
    mallory = await platform.agent("mallory", claims={"collaboration_group": "other"})
    await ada.remember("for main")
    other = await mallory.remember("for other")
    await mallory.hears(other["in_reply_to"])
    assert mallory.texts == ["for other"]


async def test_a_closed_sidebar_takes_no_messages(platform: Platform) -> None:
    ada = await platform.agent("ada")
    await platform.life("logins", ["ada"])
    await platform.life("logins", ["ada"], status="merged")
    refused = await ada.ask("sidebar_message", sidebar_id="logins", content="too late")
    assert refused["code"] == "illegal_transition"
    assert (await ada.remember("too late", context_id="logins"))["code"] == "illegal_transition"


async def test_an_unknown_sidebar_takes_no_messages(platform: Platform) -> None:
    ada = await platform.agent("ada")
    assert (await ada.remember("x", context_id="nowhere"))["code"] == "forbidden"


async def test_a_sidebar_just_made_is_found_by_every_bridge(platform: Platform) -> None:
    ada = await platform.agent("ada")
    for number in range(20):
        await platform.life(f"room{number}", ["ada"])
        said = await ada.ask("sidebar_message", sidebar_id=f"room{number}", content="x")
        assert said["type"] == "accepted"


async def test_what_the_platform_fills_in_cannot_be_forged(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    await platform.life("logins", ["ada", "bob"])
    forged = {"status": "merged", "members": ["eve"], "by": "bob", "cursor": "0a0a0a0a.1"}
    said = await ada.ask("sidebar_message", sidebar_id="logins", content="x", **forged)
    heard = await bob.hears(said["in_reply_to"])
    assert not {"status", "members", "by"} & heard.keys()
    assert heard["cursor"] == said["cursor"]
    shown = await ada.ask("agent_presence", status="working", agent_id="bob", active_sidebars=["logins"])
    heard = await bob.hears(shown["in_reply_to"])
    assert heard["agent_id"] == "ada"
    assert "active_sidebars" not in heard


@pytest.mark.parametrize("kind", ["security_emergency", "critical_failure"])
async def test_an_emergency_reaches_everyone_as_a_broadcast(platform: Platform, kind: str) -> None:
    field = {"security_emergency": "threat_type", "critical_failure": "service_name"}[kind]
    ada, bob = await platform.agent("ada", claims={"lanes": [kind]}), await platform.agent("bob")
    raised = await ada.ask(kind, **{field: "x"})
    heard = await bob.hears(raised["in_reply_to"])
    assert heard["type"] == f"{kind}_broadcast"
    assert heard["priority_lane"] is True
    assert f".all.{kind}.broadcast" in (await platform.log())[-1].subject


async def test_a_command_is_stored_for_whoever_decides_it(platform: Platform) -> None:
    ada = await platform.agent("ada", claims={"sidebar_access": ["tls"], "human_supervisor": "hana"})
    asked = await ada.ask("sidebar_spawn", parent_id="main", task_description="x", priority="high")
    assert asked["type"] == "accepted"
    record = await last(platform.connection, "BC_COMMANDS", "bc.main.cmd.high.ada.sidebar_spawn")
    assert record is not None
    headers = record.headers or {}
    assert headers["Nats-Msg-Id"] == f"ada:{asked['in_reply_to']}"
    assert headers["Bc-Type"] == "sidebar_spawn"
    assert headers["Bc-Lane"] == "high"
    assert json.loads(headers["Bc-Claims"]) == {
        "entity_type": "agent",
        "human_supervisor": "hana",
        "sidebar_access": ["tls"],
    }
    assert json.loads(record.payload)["sender_agent_id"] == "ada"


async def test_what_is_stored_is_canonical_and_keeps_unknown_fields(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    said = content(
        "memory_update", context_id="main", exchange={"content": "ä\u2028", "mine": [1, {"x": None}]}
    )
    body = json.dumps(said, indent=3)[:-1] + ', "future": 1e2, "twice": 1, "twice": 2}'
    await ada.raw(body)
    heard = await bob.hears(said["message_id"])
    assert heard["exchange"] == said["exchange"]
    assert (heard["future"], heard["twice"]) == (100.0, 2)
    stored = (await platform.log())[-1].payload
    assert stored == pydantic_core.to_json(json.loads(stored))


async def test_rubbish_in_the_log_stops_nobody(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    for number, payload in enumerate(
        [b"", b"no json", b"{}x", b"[]", b'{"members":7}', b'{"type":"x","members":[[]]}']
    ):
        for subject in (
            "bc.main.evt.ctx.logins.normal.life",
            "bc.main.evt.all.strange.presence",
            "bc.main.timer.x",
        ):
            await platform.publisher.store(Entry(subject, payload, {"Nats-Msg-Id": f"r{number}{subject}"}))
    said = await ada.remember("still here")
    await bob.hears(said["in_reply_to"])
    await bob.alive()
