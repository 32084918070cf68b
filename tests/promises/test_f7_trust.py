"""F7: trust is earned by what workers and humans report, confirmed by a human, and lost at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from backchannel.client.worker import Call, Worker
from backchannel.home import Home
from backchannel.jetstream.address import Address
from tests.promises.running import WAIT, Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")
TOOLS = {"allowed": ["note_write", "file_read", "page_fetch"]}


@contextlib.asynccontextmanager
async def at_work(platform: Platform) -> AsyncIterator[None]:
    """A worker for all these tools; it fails at what it is told to fail at."""
    user, password = Home(platform.data).nats_login("platform")
    worker = Worker("tess", Address(platform.nats, user, password))

    async def run(call: Call) -> str:
        if call.params.get("fail"):
            raise ValueError("it went wrong")
        return "done"

    for tool in TOOLS["allowed"]:
        worker.tool(tool)(run)
    running = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(WAIT):
            await worker.serving.wait()
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest_asyncio.fixture(loop_scope="module", scope="module", autouse=True)
async def worker(serving: Platform) -> AsyncIterator[None]:
    async with at_work(serving):
        yield


async def agent(platform: Platform, name: str, level: str, human: str = "hana") -> Raw:
    claims = {"supervision_level": level, "tools": TOOLS, "human_supervisor": human}
    return await platform.enter(platform.signed(name, **claims))


async def human(platform: Platform, name: str = "hana") -> Raw:
    return await platform.enter(platform.signed(name, entity_type="human"))


async def decided(raw: Raw, tool: str, **params: Any) -> Frame:
    sent = await raw.send("tool_request", tool=tool, params=params)
    return await raw.find(lambda f: f["type"] == "tool_decision" and f["request_id"] == sent["message_id"])


async def used(raw: Raw, tool: str, **params: Any) -> Frame:
    """Ask, and have it done; what the worker told of it."""
    told = await decided(raw, tool, **params)
    assert told["decision"] == "approved", told
    return await raw.find(lambda f: f["type"] == "tool_result" and f["request_id"] == told["request_id"])


async def notice(raw: Raw, agent_id: str) -> Frame:
    return await raw.find(lambda f: f["type"] == "trust_notice" and f["agent_id"] == agent_id)


async def standing(platform: Platform, name: str) -> dict[str, Frame]:
    return {one["tool_class"]: one for one in await platform.json("trust", "ls", "--agent", name)}


async def test_f7_a_severe_failure_lowers_the_level_at_once_and_for_its_class_alone(
    platform: Platform,
) -> None:
    ada, hana = await agent(platform, "ada", "autonomous"), await human(platform)
    assert (await used(ada, "note_write", path="/etc/motd", fail=True))["success"] is False
    assert (await decided(ada, "note_write", path="a"))["decision"] == "pending"
    assert (await decided(ada, "file_read", path="a"))["decision"] == "approved"
    told = await notice(hana, "ada")
    assert (told["change"], told["level"], told["new_level"]) == ("lowered", "autonomous", "high")
    assert platform.kill("handlers") > 0
    assert (await decided(ada, "note_write", path="b"))["decision"] == "pending"
    shown = await platform.json("audit", "tail", "--entity", "ada", "--category", "approval")
    assert "trust_lowered" in [one["action"] for one in shown if one["phase"] == "intent"]


async def test_f7_a_higher_level_is_earned_by_proof_recommended_once_and_confirmed_by_a_human(
    platform: Platform,
) -> None:
    bea, hana = await agent(platform, "bea", "autonomous"), await human(platform)
    settled = await hana.result(
        "trust_update", agent_id="bea", tool_class="read", level="high", reason="It is new here."
    )
    assert settled["status"] == "success"
    first = await decided(bea, "file_read", path="0")
    assert first["decision"] == "pending"
    await hana.result(
        "approval_response",
        request_id=first["request_id"],
        approved=True,
        reason="reading is fine",
        allow={"seconds": 3600},
    )
    await bea.find(lambda f: f["type"] == "tool_result" and f["request_id"] == first["request_id"])
    sent = [await bea.send("tool_request", tool="file_read", params={"path": str(n)}) for n in range(50)]
    for one in sent:
        told = await bea.find(
            lambda f, one=one: f["type"] == "tool_result" and f["request_id"] == one["message_id"]
        )
        assert told["success"]
    before = (await standing(platform, "bea"))["read"]
    assert (before["uses"], before["recommended"]) == (51, None)
    await used(bea, "file_read", path="one more")
    await used(bea, "file_read", path="and one more")
    told = await notice(hana, "bea")
    assert (told["change"], told["level"], told["new_level"]) == ("recommended", "high", "medium")
    after = (await standing(platform, "bea"))["read"]
    assert (after["level"], after["recommended"]) == ("high", "medium") and after["lower_bound"] >= 0.95

    code, _, err = await platform.run(
        "trust", "set", "bea", "medium", "--class", "read", "--reason", "It earned it."
    )
    assert code == 0, err
    now = (await standing(platform, "bea"))["read"]
    assert (now["level"], now["recommended"], now["uses"], now["by"]) == ("medium", None, 0, "operator")
    assert (await decided(bea, "file_read", path="x"))["decision"] == "approved"
    await bea.settled()
    await hana.settled()
    assert [f["agent_id"] for f in hana.events("trust_notice") if f["agent_id"] == "bea"] == ["bea"]


async def test_f7_what_an_agent_tells_of_itself_counts_for_nothing_and_a_humans_word_is_the_last(
    platform: Platform,
) -> None:
    cyd, hana = await agent(platform, "cyd", "low"), await human(platform)
    done = await used(cyd, "page_fetch", url="x")
    again = await cyd.result("tool_result", request_id=done["request_id"], success=True)
    assert again["code"] == "conflict"
    assert (await standing(platform, "cyd"))["fetch"]["uses"] == 1
    stranger = await human(platform, "stranger")
    word = {"request_id": done["request_id"], "success": False, "severe": True, "error": "it leaked"}
    assert (await stranger.result("tool_result", **word))["code"] == "not_found"
    assert (await hana.result("tool_result", **word))["status"] == "success"
    assert (await notice(hana, "cyd"))["new_level"] == "high"
    shown = (await platform.json("trust", "show", "cyd", "fetch"))[0]
    assert (shown["level"], shown["by"]) == ("high", "backchannel")
    assert (await decided(cyd, "page_fetch", url="y"))["decision"] == "pending"


async def test_f7_nobody_settles_a_level_but_the_human_an_agent_answers_to(platform: Platform) -> None:
    dot = await agent(platform, "dot", "medium")
    wish = {"agent_id": "dot", "tool_class": "write", "level": "autonomous", "reason": "trust me"}
    mate, stranger = await agent(platform, "mate", "autonomous"), await human(platform, "stranger")
    own = await platform.enter(platform.signed("eli", entity_type="human", human_supervisor="eli"))
    for raw in (dot, mate, stranger):
        assert (await raw.result("trust_update", **wish))["code"] == "forbidden"
    assert (await own.result("trust_update", **{**wish, "agent_id": "eli"}))["code"] == "forbidden"
    code, _, _ = await platform.run(
        "trust", "set", "nobody-knows", "low", "--class", "write", "--reason", "x"
    )
    assert code in (3, 4)
    assert (await platform.run("trust", "show", "dot"))[0] == 3
    assert await standing(platform, "dot") == {}


async def test_f7_trust_never_exceeds_the_token_and_others_do_not_see_it(platform: Platform) -> None:
    fay, hana = await agent(platform, "fay", "high"), await human(platform)
    raised = await hana.result(
        "trust_update", agent_id="fay", tool_class="fetch", level="autonomous", reason="It is good."
    )
    assert raised["status"] == "success"
    assert (await decided(fay, "page_fetch", url="x"))["decision"] == "pending"
    asked = await hana.result("query", query="trust", params={"agent": "fay"})
    assert [one["level"] for one in asked["trust"]] == ["autonomous"]
    other = await agent(platform, "gus", "high", "hugo")
    asked = await other.result("query", query="trust", params={})
    assert asked["trust"] == []
