"""Rows C8 and C11: waiting for each other, and what becomes of silence, through a running platform."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from tests.promises.running import Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHORT = {"cleanup.warn_after": b"2", "cleanup.pause_after": b"2", "cleanup.archive_after": b"2"}


async def hastened(platform: Platform) -> None:
    """Short settings, in force from the next start on."""
    user, password = Home(platform.data).nats_login("operator")
    async with await Connection.open(Address(platform.nats, user, password), name="operator") as connection:
        bucket = Bucket(connection, "BC_config")
        for name, value in SHORT.items():
            await bucket.put(name, value)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def impatient(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """One platform that loses patience within seconds; who kills it starts it again."""
    running = await Platform(tmp_path_factory.mktemp("hasty") / "data").start()
    await hastened(running)
    assert await running.stop() == 0
    await running.start("--handlers", "2")
    yield running
    await running.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def hasty(impatient: Platform) -> AsyncIterator[Platform]:
    """The same for one test, whose agents have names of their own."""
    yield impatient
    await impatient.part()


async def opened(agent: Raw, *others: str, **fields: Any) -> str:
    fields = {"parent_id": "main", "task_description": "look", "participants": list(others), **fields}
    result = await agent.result("sidebar_spawn", **fields)
    assert result["status"] == "success", result
    return str(result["sidebar_id"])


async def waits(agent: Raw, sidebar: str, *others: str, **fields: Any) -> Frame:
    told = {"waiting_for": "other_sidebar", "description": "their findings", "dependency_refs": list(others)}
    return await agent.result("sidebar_waiting_update", sidebar_id=sidebar, **{**told, **fields})


async def status(agent: Raw, sidebar: str) -> str:
    answer = await agent.result("query", query="sidebar", params={"sidebar_id": sidebar})
    return str(answer["sidebar"]["status"])


def life(agent: Raw, sidebar: str, *kinds: str) -> list[str]:
    """What an agent heard of the life of a sidebar, in order."""
    return [
        frame["type"]
        for frame in agent.frames
        if frame.get("sidebar_id") == sidebar and "cursor" in frame and (not kinds or frame["type"] in kinds)
    ]


ENDINGS: list[tuple[str, str, dict[str, Any]]] = [
    ("merged", "sidebar_merge", {"consolidated_findings": "why it merged", "success": True}),
    ("archived", "sidebar_archive", {"archive_reason": "why it archived"}),
    ("failed", "sidebar_status_update", {"new_status": "failed", "reason": "why it failed"}),
]


@pytest.mark.parametrize(("final", "kind", "fields"), ENDINGS)
async def test_c8_a_sidebar_is_told_when_the_one_it_waits_for_ends(
    platform: Platform, final: str, kind: str, fields: dict[str, Any]
) -> None:
    ada, bob = await platform.agent(f"c8-ada-{final}"), await platform.agent(f"c8-bob-{final}")
    mine, theirs = await opened(ada), await opened(bob, coordinator=f"c8-ada-{final}")
    await ada.result("sidebar_leave", sidebar_id=theirs)
    result = await waits(ada, mine, theirs)
    assert (result["sidebar_status"], result["waits_for"]) == ("waiting", [theirs])
    heard = await bob.find(lambda frame: frame.get("dependency_refs") == [theirs] and "cursor" in frame)
    assert heard["sidebar_id"] == mine
    assert (await bob.result(kind, sidebar_id=theirs, **fields))["status"] == "success"
    told = await ada.find(lambda frame: frame.get("awaited_by") == mine)
    assert (told["type"], told["sidebar_id"], told["final_status"]) == ("sidebar_closed", theirs, final)
    assert await status(ada, mine) == "waiting"
    await ada.settled()
    assert len([frame for frame in ada.frames if frame.get("awaited_by") == mine]) == 1
    elsewhere = [frame for frame in ada.frames if frame["type"] != "sidebar_merge"]
    assert not [frame for frame in elsewhere if f"why it {final}" in str(frame)]


async def test_c8_a_parent_that_waits_for_its_child_is_told_with_the_findings(platform: Platform) -> None:
    ada = await platform.agent("c8-parent")
    parent = await opened(ada)
    child = await opened(ada, parent_id=parent)
    await waits(ada, parent, child)
    await ada.result("sidebar_merge", sidebar_id=child, consolidated_findings="found", success=True)
    told = await ada.find(lambda frame: frame.get("awaited_by") == parent)
    assert told["final_status"] == "merged"
    assert [frame["consolidated_findings"] for frame in ada.events("sidebar_merge")] == ["found"]


async def test_c8_who_waits_for_what_has_ended_is_told_at_once(platform: Platform) -> None:
    ada = await platform.agent("c8-late")
    mine, over = await opened(ada), await opened(ada)
    await ada.result("sidebar_archive", sidebar_id=over, archive_reason="done")
    result = await waits(ada, mine, over)
    assert (result["waits_for"], result["ended"]) == ([], {over: "archived"})
    told = await ada.find(lambda frame: frame.get("awaited_by") == mine)
    assert told["final_status"] == "archived"


async def test_c8_who_has_gone_on_is_not_told_any_more(platform: Platform) -> None:
    ada = await platform.agent("c8-gone-on")
    mine, theirs = await opened(ada), await opened(ada)
    await waits(ada, mine, theirs)
    await ada.result("sidebar_resume", sidebar_id=mine, reason="found another way")
    await ada.result("sidebar_archive", sidebar_id=theirs, archive_reason="done")
    await ada.settled()
    assert not [frame for frame in ada.frames if "awaited_by" in frame]


async def test_c8_waiting_in_a_circle_is_refused_and_the_circle_is_named(platform: Platform) -> None:
    ada = await platform.agent("c8-circle")
    first, second, third = [await opened(ada) for _ in range(3)]
    assert (await waits(ada, first, second))["status"] == "success"
    assert (await waits(ada, second, third))["status"] == "success"
    refused = await waits(ada, third, first)
    assert (refused["status"], refused["code"]) == ("failed", "would_deadlock")
    for waiter, other in ((third, first), (first, second), (second, third)):
        assert f"{waiter} waits for {other}" in refused["message"]
    alone = await waits(ada, third, third)
    assert alone["code"] == "would_deadlock"
    assert await status(ada, third) == "active"


async def test_c8_waits_that_close_a_circle_at_the_same_moment_do_not_all_win(platform: Platform) -> None:
    agents = [await platform.agent(f"c8-round-{number}") for number in range(4)]
    above = await opened(agents[0], *(f"c8-round-{number}" for number in range(4)))
    ring = [await opened(agent, parent_id=above) for agent in agents]
    lanes = ("critical", "high", "normal", "low")
    results = await asyncio.gather(
        *(
            waits(agent, ring[place], ring[(place + 1) % 4], priority=lanes[place])
            for place, agent in enumerate(agents)
        )
    )
    refused = [result["code"] for result in results if result["status"] == "failed"]
    assert refused == ["would_deadlock"]


async def test_c8_waiting_for_an_unknown_sidebar_is_refused(platform: Platform) -> None:
    ada = await platform.agent("c8-unknown")
    mine = await opened(ada)
    for odd in ("no-such-sidebar", "main", "bc.*.>"):
        refused = await waits(ada, mine, odd)
        assert (refused["status"], refused["code"]) == ("denied", "forbidden"), refused
    assert await status(ada, mine) == "active"


async def test_c8_an_estimate_that_passes_is_a_notice_once(platform: Platform) -> None:
    ada, bob = await platform.agent("c8-eva"), await platform.agent("c8-fay")
    mine, other = await opened(ada, "c8-fay"), await opened(ada)
    human = {"waiting_for": "human_input", "description": "may we?"}
    await waits(ada, other, **human, estimated_wait_time=3)
    await ada.result("sidebar_resume", sidebar_id=other, reason="we may")
    result = await waits(ada, mine, **human, estimated_wait_time=3)
    assert result["until"]
    for agent in (ada, bob):
        late = await agent.find(lambda frame: frame.get("overdue") is True)
        assert (late["sidebar_id"], late["sender_agent_id"]) == (mine, "backchannel")
        assert late["description"] == "may we?"
    await ada.settled()
    assert len([frame for frame in ada.frames if frame.get("overdue") is True]) == 1


CLEANUP = ("sidebar_cleanup_warning", "sidebar_pause", "sidebar_archive")
WHOLE = ["sidebar_cleanup_warning", "sidebar_pause", "sidebar_cleanup_warning", "sidebar_archive"]


async def test_c11_a_silent_sidebar_is_warned_then_paused_then_archived(hasty: Platform) -> None:
    ada, bob = await hasty.agent("c11-ada"), await hasty.agent("c11-bob")
    mine, ended = await opened(ada, "c11-bob"), await opened(ada)
    await ada.result("sidebar_merge", sidebar_id=ended, consolidated_findings="x", success=True)
    for agent in (ada, bob):
        warning = await agent.until("sidebar_cleanup_warning")
        assert (warning["sidebar_id"], warning["next_status"]) == (mine, "paused")
        paused = await agent.until("sidebar_pause")
        assert (paused["sender_agent_id"], paused["status"]) == ("backchannel", "paused")
        assert (await agent.until("sidebar_cleanup_warning"))["next_status"] == "archived"
        archived = await agent.until("sidebar_archive")
        assert archived["sender_agent_id"] == "backchannel"
        assert life(agent, mine, *CLEANUP) == WHOLE
    assert await status(ada, mine) == "archived"
    assert life(ada, ended, *CLEANUP) == []
    forked = await ada.result("sidebar_fork", original_sidebar_id=mine, fork_reason="not done yet")
    assert forked["status"] == "success"


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("sidebar_message", {"content": "still here"}),
        ("memory_update", {"exchange": {"content": "still here"}}),
        ("sidebar_test_result", {"test_description": "t", "result": "passed", "findings": "f"}),
    ],
)
async def test_c11_any_activity_begins_the_time_anew(
    hasty: Platform, kind: str, fields: dict[str, Any]
) -> None:
    ada = await hasty.agent(f"c11-{kind}")
    mine = await opened(ada)
    place = {"context_id": mine} if kind == "memory_update" else {"sidebar_id": mine}
    for _ in range(2):
        assert (await ada.until("sidebar_cleanup_warning"))["next_status"] == "paused"
        assert (await ada.ask(kind, **place, **fields))["type"] == "accepted"
    assert (await ada.until("sidebar_cleanup_warning"))["next_status"] == "paused"
    assert life(ada, mine, *CLEANUP) == ["sidebar_cleanup_warning"] * 3
    await ada.until("sidebar_archive")
    assert life(ada, mine, *CLEANUP)[2:] == WHOLE


async def test_c11_a_parent_is_left_alone_while_it_has_open_children(hasty: Platform) -> None:
    ada = await hasty.agent("c11-parent")
    parent = await opened(ada)
    child = await opened(ada, parent_id=parent)
    archived = [(await ada.until("sidebar_archive"))["sidebar_id"] for _ in range(2)]
    assert archived == [child, parent]


async def test_c11_clean_up_goes_on_though_everything_is_killed_at_every_stage(hasty: Platform) -> None:
    ada = await hasty.agent("c11-killed")
    mine = await opened(ada)
    others = [await opened(ada) for _ in range(5)]
    for _ in range(4):
        await hasty.kill_everything()
        await asyncio.sleep(2.5)  # what is due comes due while nothing runs
        await hasty.start("--handlers", "2")
        ada = await hasty.agent("c11-killed", resume={"cursor": ada.welcome["cursor"]})
    for _ in (mine, *others):
        await ada.until("sidebar_archive")
    await ada.settled()
    for sidebar in (mine, *others):
        assert life(ada, sidebar, *CLEANUP) == WHOLE


@pytest.mark.asyncio(loop_scope="function")
async def test_c8_an_estimate_passes_though_everything_was_killed(fragile: Platform) -> None:
    ada = await fragile.agent("ada")
    mine, theirs = await opened(ada), await opened(ada)
    result = await waits(ada, mine, theirs, estimated_wait_time=3)
    assert result["status"] == "success"
    cursor = ada.welcome["cursor"]
    await fragile.kill_everything()
    await fragile.start()
    back = await fragile.agent("ada", resume={"cursor": cursor})
    late = await back.find(lambda frame: frame.get("overdue") is True)
    assert late["dependency_refs"] == [theirs]
    await back.result("sidebar_archive", sidebar_id=theirs, archive_reason="done")
    assert (await back.find(lambda frame: frame.get("awaited_by") == mine))["final_status"] == "archived"
