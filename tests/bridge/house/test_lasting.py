"""Tokens end and are renewed; hellos have deadlines; what is known of agents is written down."""

from __future__ import annotations

import asyncio
import json
import time

from backchannel.jetstream.bucket import Bucket
from tests.bridge.house.client import client
from tests.bridge.house.conftest import Platform, token
from tests.eventually import eventually


async def test_a_token_that_ends_is_announced_and_closes_the_connection(platform: Platform) -> None:
    ada = await platform.connect("ada", lifetime=3)
    await ada.hello()
    assert (await ada.frame("session_expiring"))["at"].endswith("Z")
    assert await ada.closed() == 4401


async def test_a_renewed_token_keeps_the_connection(platform: Platform) -> None:
    ada = await platform.connect("ada", lifetime=4)
    await ada.hello()
    renewed = await ada.ask("renew", token=token("ada"))
    assert renewed["status"] == "success"
    end = time.time() + 5
    while time.time() < end:
        await asyncio.sleep(0.5)
        await ada.alive()


async def test_a_token_of_somebody_else_renews_nothing(platform: Platform) -> None:
    ada = await platform.agent("ada")
    assert (await ada.ask("renew", token=token("bob")))["code"] == "forbidden"
    await ada.alive()


async def test_a_renewed_token_changes_what_is_heard(platform: Platform) -> None:
    ada, eve = await platform.agent("ada"), await platform.agent("eve", claims={"sidebar_access": ["logins"]})
    await platform.life("logins", ["ada"])
    said = await ada.ask("sidebar_message", sidebar_id="logins", content="one")
    await eve.hears(said["in_reply_to"])
    await eve.ask("renew", token=token("eve"))
    await ada.ask("sidebar_message", sidebar_id="logins", content="two")
    end = await ada.remember("the end")
    await eve.hears(end["in_reply_to"])
    assert "two" not in eve.texts


async def test_a_browser_sends_its_token_in_hello(platform: Platform) -> None:
    bridge = platform.bridges[0]
    origin = f"http://127.0.0.1:{bridge.number}"
    async with client(bridge.url, "", origin=origin) as ada:
        await ada.live(token=token("ada"))
        assert ada.welcome["agent_id"] == "ada"
        assert (await ada.remember("from a browser"))["type"] == "accepted"
    async with client(bridge.url, "", origin=origin) as stranger:
        await stranger.raw({"type": "hello", "token": "a.b.c"})
        assert (await stranger.frame("error"))["code"] == "forbidden"
        assert await stranger.closed() == 4403
    async with client(bridge.url, "", origin=origin) as late:
        await late.raw({"type": "hello", "token": token("ada", lifetime=-600)})
        assert (await late.frame("error"))["code"] == "expired"
        assert await late.closed() == 4401, "so that a page knows to fetch a fresh one"


async def test_who_says_nothing_is_sent_away(bare: Platform) -> None:
    await bare.bridge(hello_seconds=0.5)
    ada = await bare.connect("ada")
    assert await ada.closed() == 4400
    assert not bare.bridges[0].house.peers


async def test_who_says_something_else_first_is_sent_away(platform: Platform) -> None:
    for first in (
        "?",
        '{"type":"ping"}',
        '{"type":"hello","permission":"king"}',
        '{"type":"hello","resume":7}',
    ):
        ada = await platform.connect("ada")
        await ada.raw(first)
        assert (await ada.frame("error"))["code"] in ("bad_frame", "bad_message")
        assert await ada.closed() == 4400


async def test_an_agent_is_recorded_when_it_comes_and_online_while_it_is_there(platform: Platform) -> None:
    agents, presence = Bucket(platform.connection, "BC_agents"), Bucket(platform.connection, "BC_presence")
    intake = {"specialties": ["debugging"], "availability": "busy", "preferred_collaborators": ["bob"]}
    ada = await platform.agent("ada", intake=intake)
    found = await agents.get("main.ada")
    assert found is not None
    entry = json.loads(found.payload)
    assert entry["agent_id"] == "ada"
    assert entry["entity_type"] == "agent"
    assert {name: entry[name] for name in intake} == intake
    assert entry["first_seen"]
    lease = f"main.ada.{ada.welcome['connection_id']}"
    assert await presence.get(lease) is not None
    await ada.leave()
    await eventually(lambda: presence.get(lease), lambda found: found is None)
    again = await platform.agent("ada")
    kept = await agents.get("main.ada")
    assert kept is not None
    assert json.loads(kept.payload) == entry
    await again.leave()


async def test_positions_are_kept_and_no_session_token_is_stored(platform: Platform) -> None:
    ada = await platform.agent("ada")
    said = await ada.remember("one")
    await ada.hears(said["in_reply_to"])
    await ada.raw({"type": "ack", "cursor": said["cursor"]})
    sessions = Bucket(platform.connection, "BC_sessions")

    async def acknowledged() -> int:
        found = await sessions.get("main.ada.primary")
        assert found is not None
        assert ada.welcome["session"].encode() not in found.payload
        return int(json.loads(found.payload)["acked"])

    await eventually(acknowledged, lambda acked: acked == int(said["cursor"].partition(".")[2]))


async def test_an_acknowledgement_that_could_not_be_written_is_written_later(platform: Platform) -> None:
    ada = await platform.agent("ada")
    said = await ada.remember("one")
    await ada.hears(said["in_reply_to"])
    platform.server.kill()
    await platform.server.wait()
    await ada.raw({"type": "ack", "cursor": said["cursor"]})
    await ada.alive()
    await ada.leave()
    await platform.server.start()
    again = await platform.agent("ada")
    assert again.welcome["cursor"] == said["cursor"]
    assert again.events == []
