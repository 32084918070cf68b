"""H6 on one machine: several bridges share the port, several handlers share the work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.build import content
from tests.promises.running import Platform


@pytest_asyncio.fixture
async def several(tmp_path: Path) -> AsyncIterator[Platform]:
    running = await Platform(tmp_path / "data").start("--bridges", "2", "--handlers", "2")
    yield running
    await running.part()
    assert await running.stop() == 0


async def test_h6_agents_on_several_bridges_are_one_group_and_repetitions_are_recognised(
    several: Platform,
) -> None:
    agents = await asyncio.gather(*(several.agent(f"agent-{number}") for number in range(8)))
    frame = content("memory_update", context_id="main", exchange={"content": "once"})
    again = content("sidebar_spawn", parent_id="main", task_description="once")
    for told in (frame, again):
        await agents[0].send_raw(told)
        assert (await agents[0].answer_to(told["message_id"]))["type"] == "accepted"
    for _ in range(6):  # whichever bridge takes the connection
        await agents[0].close()
        agents[0] = await several.agent("agent-0")
        for told in (frame, again):
            await agents[0].send_raw(told)
            assert (await agents[0].answer_to(told["message_id"]))["type"] == "duplicate_ack"
    for agent in agents[1:]:
        await agent.settled()
        heard = [event["message_id"] for event in agent.events("memory_update")]
        assert heard.count(frame["message_id"]) == 1
    assert len(await several.json("sidebars", "ls")) == 1


async def test_h6_what_one_bridge_or_handler_leaves_another_takes_up(several: Platform) -> None:
    ada = await several.agent("ada")
    cursor = ada.welcome["cursor"]
    sent = []
    for name in ("-m bridge", "-m handlers"):
        frame = content("sidebar_spawn", parent_id="main", task_description=name)
        await ada.send_raw(frame)
        assert (await ada.answer_to(frame["message_id"]))["type"] == "accepted"
        sent.append(frame["message_id"])
        assert len(several.children(name)) == 2
        several.kill_one(name)
        await several.part()
        ada = await several.enter(ada.token, resume={"cursor": cursor})
    results = [await ada.result_of(message_id) for message_id in sent]
    assert [result["status"] for result in results] == ["success", "success"]
