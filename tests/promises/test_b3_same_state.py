"""Row B3: what an agent says of itself once more within 30 seconds is no news, at whatever bridge."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.promises.running import Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def serving(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """Two bridges share the port."""
    running = await Platform(tmp_path_factory.mktemp("platform")).start("--bridges", "2")
    yield running
    assert await running.stop() == 0


async def show(agent: Raw, status: str) -> Frame:
    return await agent.ask("agent_presence", status=status, current_context="main")


async def statuses(witness: Raw, agent: str) -> list[str]:
    await witness.settled()
    return [told["status"] for told in witness.events("agent_presence") if told["agent_id"] == agent]


async def test_b3_the_same_state_again_is_acknowledged_as_a_duplicate_and_nobody_hears_it(
    platform: Platform,
) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    answers = [
        (await show(ada, status))["type"] for status in ("working", "working", "idle", "idle", "working")
    ]
    assert answers == ["accepted", "duplicate_ack", "accepted", "duplicate_ack", "accepted"]
    assert await statuses(bob, "ada") == ["working", "idle", "working"]


async def test_b3_the_same_many_times_at_once_is_stored_once_and_every_one_is_answered(
    platform: Platform,
) -> None:
    cid, bob = await platform.agent("cid"), await platform.agent("dan")
    sent = [await cid.send("agent_presence", status="working") for _ in range(30)]
    answers = [(await cid.answer_to(one["message_id"]))["type"] for one in sent]
    assert sorted(answers) == ["accepted"] + ["duplicate_ack"] * 29
    assert await statuses(bob, "cid") == ["working"]


async def test_b3_holds_at_every_bridge_and_after_each_was_killed(platform: Platform) -> None:
    witness, eve = await platform.agent("witness"), await platform.agent("eve")
    assert (await show(eve, "working"))["type"] == "accepted"
    await eve.close()
    for _ in range(4):  # whichever bridge accepts it
        eve = await platform.enter(eve.token)
        assert (await show(eve, "working"))["type"] == "duplicate_ack"
        await eve.close()
    await witness.close()
    assert platform.kill("bridge") == 2
    eve, witness = await platform.enter(eve.token), await platform.enter(witness.token)
    assert (await show(eve, "working"))["type"] == "duplicate_ack"
    assert (await show(eve, "idle"))["type"] == "accepted"
    assert await statuses(witness, "eve") in (["idle"], ["working", "idle"])
