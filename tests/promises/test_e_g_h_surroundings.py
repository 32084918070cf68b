"""Sections E, G and H in their first form: memory over HTTP, true health, the command line."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.build import content
from tests.eventually import eventually
from tests.promises.http import fetch
from tests.promises.running import Platform

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_e1_what_a_service_stores_over_http_reaches_those_entitled(platform: Platform) -> None:
    ada = await platform.agent("e1-ada")
    token = await platform.token("e1-service", "--type", "service")
    update = content("memory_update", context_id="main", exchange={"content": "from a service"})
    answer = await fetch(f"{platform.http}/store", update, Authorization=f"Bearer {token}")
    assert answer.status == 200, answer.body
    told = answer.json()
    assert (told["status"], told["realtime_updates"]) == ("full", "active")
    heard = await ada.until("memory_update")
    assert (heard["cursor"], heard["sender_agent_id"]) == (told["cursor"], "e1-service")
    again = await fetch(f"{platform.http}/store", update, X_Memory_Auth=token)
    assert again.status == 200
    await ada.settled()
    assert [event["message_id"] for event in ada.events("memory_update")].count(update["message_id"]) == 1


async def test_e1_what_cannot_be_stored_over_http_says_why(platform: Platform) -> None:
    url = f"{platform.http}/store"
    token = await platform.token("e1-bea")
    good = content("memory_update", context_id="main", exchange={"content": "x"})
    assert (await fetch(url, good)).status == 401
    assert (await fetch(url, good, X_Memory_Auth="eyJ.nonsense.x")).status == 401
    wrong = await fetch(url, good | {"exchange": 5}, X_Memory_Auth=token)
    assert wrong.status == 422 and wrong.json()["field"].startswith("exchange")
    assert (await fetch(url, b"{nope", X_Memory_Auth=token)).status == 422
    assert (await fetch(url, b"x" * 3_000_000, X_Memory_Auth=token)).status == 413
    elsewhere = good | {"context_id": "not-mine"}
    assert (await fetch(url, elsewhere, X_Memory_Auth=token)).status in (403, 404, 422)
    assert (await fetch(url)).status == 405


async def test_g8_metrics_count_what_happens(platform: Platform) -> None:
    ada = await platform.agent("g8-ada")

    async def total(name: str) -> float:
        text = (await fetch(f"{platform.http}/metrics")).body
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    before = await total("backchannel_messages_received_total")
    await ada.ask("memory_update", context_id="main", exchange={"content": "x"})
    assert await total("backchannel_messages_received_total") >= before + 1
    assert await total("backchannel_connections") >= 1


async def test_g3_health_is_200_while_all_is_well(platform: Platform) -> None:
    for path in ("/health", "/health/live", "/health/ready"):
        assert (await fetch(platform.http + path)).status == 200


async def test_h1_agents_ls_tells_who_is_here(platform: Platform) -> None:
    here = await platform.agent("h1-here", intake={"specialties": ["tls"], "availability": "available"})
    await platform.token("h1-away")
    agents = {agent["agent_id"]: agent for agent in await platform.json("agents", "ls")}
    assert agents["h1-here"]["online"] is True and agents["h1-here"]["specialties"] == ["tls"]
    assert agents["h1-away"]["online"] is False
    await here.close()
    await eventually(
        lambda: platform.json("agents", "ls"),
        lambda agents: not next(one for one in agents if one["agent_id"] == "h1-here")["online"],
    )


async def test_h1_what_an_agent_says_of_itself_is_in_the_directory(platform: Platform) -> None:
    ada = await platform.agent("h1-ada")
    await ada.ask("agent_presence", status="working", current_context="main", specialties=["logs"])
    shown = await eventually(
        lambda: platform.json("agents", "show", "h1-ada"), lambda shown: shown["status"] == "working"
    )
    assert shown["specialties"] == ["logs"]


async def test_h1_streams_are_listed_described_and_viewed(platform: Platform) -> None:
    ada = await platform.agent("h1-bea")
    sent = await ada.send("memory_update", context_id="main", exchange={"content": "in the log"})
    await ada.answer_to(sent["message_id"])
    names = {stream["name"] for stream in await platform.json("streams", "ls")}
    assert {"BC_COMMANDS", "BC_EVENTS_main", "BC_AUDIT", "BC_DEAD"} <= names
    facts = await platform.json("streams", "info", "BC_EVENTS_main")
    assert json.dumps(facts)
    viewed = await platform.json("streams", "view", "BC_EVENTS_main", "--limit", "5")
    assert any(sent["message_id"] in json.dumps(row) for row in viewed)
    code, _, err = await platform.run("streams", "info", "NO_SUCH")
    assert code == 3 and err.startswith("error: ")


async def test_h1_status_and_doctor_are_content_with_a_healthy_platform(platform: Platform) -> None:
    code, out, _ = await platform.run("status")
    assert code == 0 and "healthy" in out
    code, out, err = await platform.run("doctor")
    assert code == 0, out + err


async def test_h1_commands_without_a_platform_say_so(tmp_path: Path) -> None:
    nowhere = Platform(tmp_path / "nothing")
    for words in (["status"], ["sidebars", "ls"], ["agents", "ls"], ["streams", "ls"]):
        code, out, err = await nowhere.run(*words)
        assert code == 5 and out == "" and err.startswith("error: "), (words, out, err)


async def test_g3_health_tells_of_a_dead_part_and_of_its_return(fragile: Platform) -> None:
    async def until(status: int) -> None:
        await eventually(lambda: fetch(f"{fragile.http}/health"), lambda answer: answer.status == status)

    await until(200)
    for name, expected in (("handlers", 206), ("nats-server", 503)):
        pids = fragile.children(name)
        assert pids
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            await until(expected)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        await until(200)
