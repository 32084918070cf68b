"""Sidebars through the SDK and a whole platform: what lies between their beginning and their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from backchannel.client import Agent
from backchannel.errors import Forbidden, IllegalTransition, NotFound
from tests.client.whole import WAIT
from tests.promises.running import Platform

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    running = await Platform(tmp_path_factory.mktemp("platform")).start()
    yield running
    await running.stop()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ada(platform: Platform) -> AsyncIterator[Agent]:
    async with Agent.connect("ada", data=platform.data, patience=30, timeout=WAIT) as me:
        yield me


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def bob(platform: Platform) -> AsyncIterator[Agent]:
    async with Agent.connect(
        "bob", data=platform.data, patience=30, timeout=WAIT, specialties=["forensics"]
    ) as me:
        yield me


async def status(me: Agent, sidebar_id: str) -> str:
    return str((await me.ask("sidebar", sidebar_id=sidebar_id))["sidebar"]["status"])


async def test_a_sidebar_is_paused_waits_is_tested_and_its_history_tells_it(ada: Agent) -> None:
    room = await ada.sidebar("Find out.", priority="high", success_criteria="It is known.")
    await room.pause("Night.", resume_when="Morning.")
    with pytest.raises(IllegalTransition):
        await room.wait_for("human_input", "Too early to ask.")
    await room.resume("Morning.")
    await room.wait_for("human_input", "May we look?", estimate=3600)
    await room.resume("We may.")
    await room.move("testing", "To be sure.")
    await room.record_test("Replay it.", "passed", "All match.", next_test="Replay it twice.")
    await room.merge("It was backup.")
    moves = [move async for move in room.history(page=3)]
    told = [(move["type"], move["before"], move["after"]) for move in moves]
    assert told == [
        ("sidebar_spawn", None, "active"),
        ("sidebar_pause", "active", "paused"),
        ("sidebar_resume", "paused", "active"),
        ("sidebar_waiting_update", "active", "waiting"),
        ("sidebar_resume", "waiting", "active"),
        ("sidebar_status_update", "active", "testing"),
        ("sidebar_test_result", "testing", "testing"),
        ("sidebar_closed", "testing", "merged"),
    ]
    assert {move["by"] for move in moves} == {"ada"}
    whys = ["Find out.", "Night.", "Morning.", "human_input: May we look?", "We may.", "To be sure."]
    assert [move["why"] for move in moves][:6] == whys
    assert moves[-1]["why"] == "It was backup."
    later = [move async for move in room.history(after=moves[5]["cursor"])]
    assert later == moves[6:]


async def test_an_ended_sidebar_lives_again_as_a_fork_with_those_who_were_in_it(
    ada: Agent, bob: Agent
) -> None:
    room = await ada.sidebar("Find out.", with_=["bob"])
    await room.say("Remember me.")
    await room.archive("Nothing to find.")
    async with room.fork("There is.") as again:
        assert again.id != room.id and again.participants == ("ada", "bob")
        heard = [said["content"] async for said in bob.context(again.id, inherited=True) if "content" in said]
        assert heard == ["Remember me."]
        await again.merge("Found.")
    alone = await room.fork("Alone.", with_=[], sidebar_id="alone")
    assert (alone.id, alone.participants) == ("alone", ("ada",))
    assert await status(ada, room.id) == "archived"


async def test_a_specialty_brings_somebody_who_has_it_and_says_why(ada: Agent, bob: Agent) -> None:
    room = await ada.sidebar("Look at the disk.", specialties=["forensics"])
    assert room.participants == ("ada", "bob")
    [chosen] = room.matched
    assert (chosen["agent_id"], chosen["specialty"]) == ("bob", "forensics")
    assert "bob has forensics" in chosen["reason"]
    with pytest.raises(NotFound, match="astrology"):
        await ada.sidebar("Ask the stars.", specialties=["astrology"])


async def test_a_child_has_a_priority_a_goal_and_as_much_context_as_it_is_given(ada: Agent) -> None:
    room = await ada.sidebar("The whole.", priority="critical")
    child = await room.child("A part.", success_criteria="Done.", depth=1, specialties=["forensics"])
    found = (await ada.ask("sidebar", sidebar_id=child.id))["sidebar"]
    assert (found["parent_id"], found["priority"], found["success_criteria"]) == (
        room.id,
        "critical",
        "Done.",
    )
    assert [stretch["context_id"] for stretch in child.inherited] == [room.id]
    assert child.participants == ("ada", "bob")


async def test_a_stranger_reads_no_history(ada: Agent, bob: Agent) -> None:
    room = await ada.sidebar("Alone.")
    with pytest.raises(Forbidden):
        async with asyncio.timeout(WAIT):
            await anext(bob.open_sidebar(room.id).history())
