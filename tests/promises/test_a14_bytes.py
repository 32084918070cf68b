"""A14: no message, introduction or row is larger than what others can bear, whichever door it came by."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.eventually import eventually
from tests.promises.native import Native
from tests.promises.running import Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")
BIG = 900_000


async def log_bytes(platform: Platform) -> int:
    return int((await platform.json("streams", "info", "BC_EVENTS_main"))["bytes"])


async def everybody(agent: Raw, **params: Any) -> list[dict[str, Any]]:
    """All pages of the query `agents`."""
    found, page = list[dict[str, Any]](), {}
    while True:
        answer = await agent.query("agents", **page, **params)
        assert len(json.dumps(answer)) < 600_000
        found += answer["agents"]
        if answer["next"] is None:
            return found
        page = {"page": answer["next"]}


async def test_a14_a_long_introduction_hides_nobody(platform: Platform) -> None:
    noise = {f"noise-{number}": "x" * 100_000 for number in range(9)}
    for name in ("mal1", "mal2"):
        mal = await platform.agent(name, intake={"specialties": ["noise"], **noise})
        await mal.close()
    ada = await platform.agent("ada", intake={"specialties": ["tls"]})
    found = {one["agent_id"]: one for one in await everybody(ada)}
    assert {"ada", "mal1", "mal2"} <= found.keys() and found["ada"]["specialties"] == ["tls"]
    assert found["mal1"]["specialties"] == ["noise"]
    assert all(len(json.dumps(one)) < 10_000 for one in found.values())
    listed = await platform.json("agents", "ls")
    assert {"ada", "mal1", "mal2"} <= {one["agent_id"] for one in listed}


async def test_a14_a_presence_with_long_lists_hides_nobody(platform: Platform) -> None:
    mal = await platform.agent("mal3")
    names = [f"{'s' * 58}-{number:03}" for number in range(256)]
    answer = await mal.ask("agent_presence", status="idle", specialties=names, noise="x" * BIG)
    assert answer["type"] == "accepted"

    async def noted() -> Any:
        [found] = [one for one in await everybody(mal) if one["agent_id"] == "mal3"]
        return found

    found = await eventually(noted, lambda one: one["status"] == "idle" and one["specialties"])
    assert found["specialties"] == names[: len(found["specialties"])]
    assert len(json.dumps(found)) < 10_000


async def test_a14_agents_come_in_pages_and_all_of_them(platform: Platform) -> None:
    names = {f"many-{number}" for number in range(7)}
    for name in names:
        await (await platform.agent(name)).close()
    ada = await platform.agent("ada2")
    found = [one["agent_id"] for one in await everybody(ada, limit=3)]
    assert found == sorted(set(found)) and names <= set(found)
    [one] = await everybody(ada, agent_id="many-3")
    assert one["agent_id"] == "many-3"
    shown = await platform.json("agents", "show", "many-3")
    assert shown["agent_id"] == "many-3"


async def test_a14_a_decision_that_would_add_too_much_is_refused_to_its_sender(platform: Platform) -> None:
    ada = await platform.agent("ada3")
    spawned = await ada.result("sidebar_spawn", parent_id="main", task_description="t" * BIG)
    assert spawned["status"] == "success"
    before = await log_bytes(platform)
    forked = await ada.result(
        "sidebar_fork", original_sidebar_id=spawned["sidebar_id"], fork_reason="f" * BIG
    )
    assert (forked["status"], forked["code"]) == ("failed", "too_large"), forked
    assert await log_bytes(platform) - before < 10_000
    again = await ada.result("sidebar_fork", original_sidebar_id=spawned["sidebar_id"], fork_reason="short")
    assert again["status"] == "success", "what is behind it goes on"


async def test_a14_one_long_task_does_not_hide_other_sidebars(platform: Platform) -> None:
    ada = await platform.agent("ada4")
    long = await ada.result("sidebar_spawn", parent_id="main", task_description="\u0001" * 150_000)
    short = await ada.result("sidebar_spawn", parent_id="main", task_description="short")
    listed = await ada.query("sidebars", limit=1)
    found = list(listed["sidebars"])
    while listed["next"] is not None:
        listed = await ada.query("sidebars", limit=1, page=listed["next"])
        found += listed["sidebars"]
    assert {long["sidebar_id"], short["sidebar_id"]} <= {one["sidebar_id"] for one in found}
    shown = (await ada.query("sidebar", sidebar_id=long["sidebar_id"]))["sidebar"]
    assert shown["sidebar_id"] == long["sidebar_id"] and shown["shortened"] == ["task"]
    told = await ada.query("history", sidebar_id=long["sidebar_id"])
    assert len(told["moves"]) == 1 and len(json.dumps(told)) < 600_000


async def test_a14_a_native_mention_of_many_is_refused_whole(platform: Platform) -> None:
    others = [f"target-{number}" for number in range(12)]
    for name in others:
        await (await platform.agent(name)).close()
    nat = await Native.enter(platform.nats, "nat", platform.signed("nat"))
    try:
        before = await log_bytes(platform)
        said = await nat.say("mention_route", target_agents=others, message="m" * BIG)
        told = await nat.result_of(said["message_id"])
        assert (told["status"], told["code"]) == ("failed", "too_large"), told
        assert await log_bytes(platform) - before < 20_000
    finally:
        await nat.close()


async def test_a14_what_follows_from_native_commands_is_charged_too(platform: Platform) -> None:
    names = ["few-1", "few-2", "few-3", "few-4"]
    for name in names:
        await (await platform.agent(name)).close()
    nat = await Native.enter(platform.nats, "nat2", platform.signed("nat2"))
    try:
        said = [await nat.say("mention_route", target_agents=names, message="m" * BIG) for _ in range(9)]
        before = await log_bytes(platform)
        told = await nat.result_of(said[-1]["message_id"])
        assert (told["status"], told["code"], told["retryable"]) == ("failed", "rate_limited", True), told
        assert told["retry_after"] > 0 and before < 9 * 4 * BIG
    finally:
        await nat.close()


async def test_a14_recipients_come_in_pages(platform: Platform) -> None:
    names = [f"heard-{number}" for number in range(5)]
    for name in names:
        await (await platform.agent(name)).close()
    ada = await platform.agent("ada5")
    sent = await ada.ask("mention_route", target_agents=names, message="hello")
    found, page = list[str](), {}
    while page is not None:
        told = await ada.query("delivery", message_id=sent["in_reply_to"], limit=2, **page)
        found += [one["agent_id"] for one in told["recipients"]]
        page = {"page": told["page"]} if told["page"] is not None else None
    assert found == names
    explained = await platform.json("explain", sent["in_reply_to"])
    assert [one["agent_id"] for one in explained["recipients"]] == names
