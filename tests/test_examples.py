"""The examples do what they say, against a platform started as their reader starts it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backchannel.client import Agent, MentionRoute
from tests.promises.running import Platform

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
WAIT = 90.0


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    running = await Platform(tmp_path / "data").start()
    yield running
    await running.stop()


async def run(name: str, *words: str, **environment: str) -> tuple[int | None, str]:
    """Run an example to its end; its exit code and all it printed."""
    child = await start(name, *words, **environment)
    async with asyncio.timeout(WAIT):
        out, _ = await child.communicate()
    return child.returncode, out.decode()


async def start(name: str, *words: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLES / name),
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **environment},
    )


async def test_two_agents_find_the_incident_and_what_they_found_can_be_read_afterwards(
    platform: Platform,
) -> None:
    code, told = await run("01_two_agents.py", "--data", str(platform.data))
    assert code == 0, told
    assert "everything arrived" in told
    [sidebar] = await platform.json("sidebars", "ls")
    assert sidebar["status"] == "merged"
    assert {"watcher", "analyst"} <= set(sidebar["participants"])


async def test_two_agents_find_the_platform_by_the_environment_and_may_run_again(platform: Platform) -> None:
    for _ in range(2):
        code, told = await run("01_two_agents.py", BACKCHANNEL_DATA=str(platform.data))
        assert code == 0, told


async def test_workers_run_what_a_human_approved_and_keep_the_conditions(platform: Platform) -> None:
    code, told = await run("02_workers.py", "--data", str(platform.data))
    assert code == 0, told
    assert "'status.md.before': 'yesterday'" in told and "outside the folder that was allowed" in told
    listed = await platform.json("approvals", "ls", "--state", "approved")
    assert [one["decided_by"] for one in listed["approvals"]] == ["hugo", "hugo", None]
    assert (await platform.run("audit", "verify"))[0] == 0


async def test_without_a_platform_the_example_says_how_to_start_one(tmp_path: Path) -> None:
    code, told = await run("01_two_agents.py", "--data", str(tmp_path / "nowhere"))
    assert code == 1
    assert "backchannel up" in told
    assert "Traceback" not in told


async def test_the_ten_line_agent_answers_who_mentions_it(platform: Platform) -> None:
    await platform.token("echo")
    echo = await start("00_ten_lines.py", BACKCHANNEL_DATA=str(platform.data))
    try:
        async with Agent.connect("ada", data=platform.data) as ada:
            await ada.mention("echo", "hello")
            answer = await ada.next(timeout=WAIT)
    finally:
        echo.terminate()
        await echo.communicate()
    assert isinstance(answer, MentionRoute)
    assert (answer.sender_agent_id, answer.message) == ("echo", "You said: hello")


def test_examples_are_short() -> None:
    for example in EXAMPLES.glob("*.py"):
        assert len(example.read_text("utf-8").splitlines()) < 120, example.name
