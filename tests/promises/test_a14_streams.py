"""A14, G10: a stream has a size, the person on call is told long before, and what is shed stops nobody."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.eventually import eventually
from tests.promises.running import Platform

BIG = 910_000


@pytest_asyncio.fixture
async def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Platform]:
    """A platform whose log may have 16 MiB."""
    monkeypatch.setenv("BACKCHANNEL_STREAM_BYTES", "BC_EVENTS=16MiB")
    running = await Platform(tmp_path / "data").start()
    yield running
    await running.part()
    await running.stop()


async def get(platform: Platform, path: str) -> tuple[int, str]:
    def asked() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"{platform.http}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, answer.read().decode()

    return await asyncio.to_thread(asked)


async def write(platform: Platform, name: str, count: int) -> None:
    agent = await platform.agent(name)
    for number in range(count):
        exchange = {"content": f"{number}:" + "x" * BIG}
        assert (await agent.ask("memory_update", context_id="main", exchange=exchange))["type"] == "accepted"
    await agent.close()


async def test_a14_a_log_warns_then_sheds_and_nobody_is_stopped(small: Platform) -> None:
    ada = await small.agent("ada")
    spawned = await ada.result("sidebar_spawn", parent_id="main", task_description="kept")
    gone = await small.agent("gone")
    resume: dict[str, Any] = {"cursor": gone.welcome["cursor"]}
    await gone.close()
    await write(small, "one", 8)
    await write(small, "two", 7)

    async def health() -> str:
        return (await get(small, "/health"))[1]

    told = await eventually(health, lambda text: "is 81% full" in text, pause=0.5)
    assert "BC_EVENTS_main" in told and "degraded" in told
    code, out, _ = await small.run("doctor")
    assert code == 7 and "BC_EVENTS_main is 81% full" in out and "BACKCHANNEL_STREAM_BYTES" in out
    code, out, _ = await small.run("status")
    assert code == 7 and "BC_EVENTS_main is 81% full" in out
    metrics = (await get(small, "/metrics"))[1]
    assert 'backchannel_stream_max_bytes{stream="BC_EVENTS_main"} 1.6777216e+07' in metrics

    await write(small, "three", 2)

    async def used() -> int:
        return int((await small.json("streams", "info", "BC_EVENTS_main"))["bytes"])

    assert await eventually(used, lambda size: size <= 0.75 * 16 * 1024 * 1024, pause=0.5)
    await eventually(health, lambda text: "full" not in text, pause=0.5)
    listed = await small.json("sidebars", "ls")
    assert spawned["sidebar_id"] in {row["sidebar_id"] for row in listed}
    code, out, _ = await small.run("streams", "verify", "BC_EVENTS_main")
    assert code == 0, out
    back = await small.enter(gone.token, resume=resume)
    assert back.welcome["outcome"] == "gap"
    said = await ada.ask("sidebar_message", sidebar_id=spawned["sidebar_id"], content="still here")
    assert said["type"] == "accepted"
