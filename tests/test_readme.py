"""README and documentation say nothing that is not so."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import TypeVar

import pytest

from backchannel.client import Agent, MentionRoute
from tests.promises.running import BACKCHANNEL, Platform

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = {".venv", "node_modules", ".git", ".pytest_cache"}
PAGES = [path for path in sorted(ROOT.rglob("*.md")) if not LEFT_OUT & set(path.relative_to(ROOT).parts)]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PATIENCE = 60.0
Came = TypeVar("Came")


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    running = await Platform(tmp_path / "data").start()
    yield running
    assert await running.stop() == 0


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def outside_code(text: str) -> str:
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)


async def mention_for(agent: Agent) -> MentionRoute:
    async for message in agent.inbox():
        if isinstance(message, MentionRoute):
            return message
    raise AssertionError("the inbox ended")


async def test_the_agent_of_the_readme_answers_who_mentions_it(tmp_path: Path, platform: Platform) -> None:
    (program,) = blocks(README, "python")
    script = tmp_path / "ada.py"
    script.write_text(program, encoding="utf-8")
    environment = {**os.environ, "BACKCHANNEL_DATA": str(platform.data)}
    await platform.token("ada")
    child = await asyncio.create_subprocess_exec(sys.executable, str(script), env=environment)
    try:
        async with asyncio.timeout(PATIENCE), Agent.connect("bob", data=platform.data) as bob:
            await bob.mention("ada", "hello")
            answer = await mention_for(bob)
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()
    assert answer.sender_agent_id == "ada"
    assert "hello" in answer.message


async def test_the_two_agents_of_the_tutorial_answer_each_other(tmp_path: Path, platform: Platform) -> None:
    tutorial = (ROOT / "docs" / "tutorials" / "first-two-agents.md").read_text(encoding="utf-8")
    for name, program in zip(("bob.py", "ada.py", "call.py"), blocks(tutorial, "python"), strict=True):
        (tmp_path / name).write_text(program, encoding="utf-8")
    environment = {**os.environ, "BACKCHANNEL_DATA": str(platform.data), "PYTHONUNBUFFERED": "1"}

    async def start(name: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, str(tmp_path / name), env=environment, stdout=asyncio.subprocess.PIPE
        )

    bob = await start("bob.py")
    assert bob.stdout is not None

    async def soon(coming: Awaitable[Came]) -> Came:
        return await asyncio.wait_for(coming, PATIENCE)

    try:
        assert await soon(bob.stdout.readline()) == b"bob is listening\n"
        ada = await start("ada.py")
        said, _ = await soon(ada.communicate())
        heard = [(await soon(bob.stdout.readline())).decode() for _ in range(2)]
        # Ctrl-C, as the reader is told: he leaves in good order, and what he has done is done.
        bob.send_signal(signal.SIGINT)
        await soon(bob.communicate())
        assert await soon((await start("call.py")).wait()) == 0
        bob = await start("bob.py")
        assert bob.stdout is not None
        back = [(await soon(bob.stdout.readline())).decode() for _ in range(2)]
    finally:
        if bob.returncode is None:
            bob.terminate()
        await bob.communicate()
    assert ada.returncode == 0
    assert said.decode() == "bob says: Two: 203.0.113.7 and 198.51.100.23.\n"
    assert heard == ["asked: How many addresses failed to log in?\n", "ada called: Thank you.\n"]
    assert back == ["bob is listening\n", "ada called: Are you there?\n"]


def test_every_link_leads_somewhere() -> None:
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", outside_code(page.read_text(encoding="utf-8"))):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name for page in PAGES for name in re.findall(r"(?:`|^)make ([a-z]+)", page.read_text(), re.MULTILINE)
    }
    assert named and named <= targets


def test_every_command_in_the_documentation_is_understood() -> None:
    lines = {
        line.split("backchannel ", 1)[1]
        for page in PAGES
        for block in blocks(page.read_text(encoding="utf-8"), "")
        for line in block.splitlines()
        if re.search(r"(^|/| )backchannel [a-z]", line)
    }
    for line in sorted(lines):
        found = re.match(r"[a-z]+( [a-z]+)?", line)
        assert found, line
        # A word that is an argument rather than a subcommand does no harm before --help.
        command = [BACKCHANNEL, *found[0].split(), "--help"]
        helped = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert helped.returncode == 0, f"{line}: {helped.stderr}"
