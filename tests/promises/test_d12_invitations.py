"""D12: nobody fills another's sidebars unasked, and who wants to be left in peace is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.promises.running import Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def spawned(agent: Raw, *others: str, **fields: Any) -> Frame:
    spawn = {"parent_id": "main", "task_description": "look", "participants": list(others)}
    return await agent.result("sidebar_spawn", **{**spawn, **fields})


async def test_an_agent_brings_another_into_so_many_open_sidebars_and_no_more(platform: Platform) -> None:
    assert (await platform.run("config", "set", "sidebar.max_put_in", "3"))[0] == 0
    ada, bob = await platform.agent("i1-ada"), await platform.agent("i1-bob")
    await platform.agent("i1-cid")
    try:
        made = [(await spawned(ada, "i1-bob"))["sidebar_id"] for _ in range(3)]
        refused = await spawned(ada, "i1-cid", "i1-bob")
        assert (refused["status"], refused["code"]) == ("failed", "rate_limited"), refused
        assert "i1-bob" in refused["message"]
        own = (await spawned(ada, "i1-cid"))["sidebar_id"]
        invited = await ada.result("sidebar_invite", sidebar_id=own, agents=["i1-bob"])
        assert (invited["code"], invited["field"]) == ("rate_limited", "agents")
        child = {"parent_sidebar_id": own, "sub_task_description": "x", "assigned_agents": ["i1-bob"]}
        assert (await ada.result("sidebar_child_spawn", **child))["code"] == "rate_limited"
        fork = await ada.result("sidebar_fork", original_sidebar_id=made[0], fork_reason="x")
        assert fork["code"] == "rate_limited"
        # Where it does something of its own accord it is not there by another's doing alone.
        await bob.result("sidebar_pause", sidebar_id=made[0], reason="wait")
        assert (await spawned(ada, "i1-bob"))["status"] == "success"
        await ada.result("sidebar_archive", sidebar_id=made[1], archive_reason="done")
        assert (await spawned(ada, "i1-bob"))["status"] == "success"
        assert (await spawned(bob, "i1-ada"))["status"] == "success"
        cid = await platform.json("sidebars", "spawn", "look", "--with", "i1-bob")
        assert cid["participants"] == ["i1-bob"]
    finally:
        assert (await platform.run("config", "set", "sidebar.max_put_in", "200"))[0] == 0


async def test_who_lets_nobody_bring_it_in_is_brought_in_by_nobody_and_may_join(platform: Platform) -> None:
    ada = await platform.agent("i2-ada")
    claims = {"specialties": ["i2-dns"]}
    await platform.enter(platform.signed("i2-bob", **claims), intake={"invitations": "nobody"})
    refused = await spawned(ada, "i2-bob")
    assert (refused["status"], refused["code"]) == ("denied", "forbidden") and "i2-bob" in refused["message"]
    assert (await spawned(ada, specialties=["i2-dns"]))["code"] == "not_found"
    room = (await spawned(ada))["sidebar_id"]
    invited = await ada.result("sidebar_invite", sidebar_id=room, agents=["i2-bob"])
    assert (invited["code"], invited["field"]) == ("forbidden", "agents")


async def test_who_wants_only_those_it_knows_is_brought_in_by_them(platform: Platform) -> None:
    ada, eve = await platform.agent("i3-ada"), await platform.agent("i3-eve")
    bob = await platform.agent("i3-bob")
    await bob.ask("agent_presence", status="working", invitations="known")
    await ada.query(
        "agents",
        lambda answer: any(
            one["agent_id"] == "i3-bob" and one.get("invitations") == "known" for one in answer["agents"]
        ),
    )
    assert (await spawned(eve, "i3-bob"))["code"] == "forbidden"
    assert (await spawned(ada, "i3-bob"))["code"] == "forbidden"
    assert (await spawned(bob, "i3-ada"))["status"] == "success"
    await ada.settled()
    first = await spawned(ada, "i3-bob")
    assert first["code"] == "forbidden", "it was brought together by bob alone so far"
    shared = (await ada.result("query", query="sidebars", params={}))["sidebars"][0]["sidebar_id"]
    await ada.result(
        "sidebar_test_result", sidebar_id=shared, test_description="t", result="passed", findings="f"
    )
    assert (await spawned(ada, "i3-bob"))["status"] == "success"


async def test_who_has_left_again_and_again_is_brought_back_by_itself_alone(platform: Platform) -> None:
    ada, bob = await platform.agent("i4-ada"), await platform.agent("i4-bob")
    room = (await spawned(ada, "i4-bob"))["sidebar_id"]
    outcomes = []
    for _ in range(4):
        await bob.result("sidebar_leave", sidebar_id=room)
        again = await ada.result("sidebar_invite", sidebar_id=room, agents=["i4-bob"])
        outcomes.append(again["code"] if again["status"] != "success" else "done")
    assert outcomes == ["done", "done", "forbidden", "forbidden"]
    assert (await bob.result("sidebar_join", sidebar_id=room))["status"] == "success"
