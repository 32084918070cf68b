"""Section F under faults: whatever is killed at whatever step, what executes is in the trail, and once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pydantic_core
import pytest

from backchannel.client.worker import Call, Worker
from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.connection import Connection
from tests.eventually import eventually
from tests.promises.running import WAIT, Frame, Platform, Raw

pytestmark = pytest.mark.asyncio
TOOLS = {"allowed": ["count"], "restricted": ["write"]}
ROUNDS, EACH = 2, 5


async def approving(hugo: Raw) -> None:
    """Approve whatever is asked, also again after a fault; a conflict says that it was decided."""
    seen = set()
    while True:
        asked = await hugo.until("approval_request")
        if asked["request_id"] not in seen:
            seen.add(asked["request_id"])
            answer = {"request_id": asked["request_id"], "approved": True, "reason": "yes"}
            await hugo.send("approval_response", **answer)


def counting(platform: Platform) -> tuple[Worker, list[Call]]:
    worker, ran = Worker.on_this_machine("tess", str(platform.data)), list[Call]()
    for tool in ("count", "write"):

        @worker.tool(tool)
        async def run(call: Call) -> Any:
            ran.append(call)
            await asyncio.sleep(0)
            return call.params["n"]

    return worker, ran


@contextlib.asynccontextmanager
async def admin(platform: Platform) -> AsyncIterator[Connection]:
    user, password = Home(platform.data).nats_login("steward")
    address = Address(platform.nats, user, password)
    async with await Connection.open(address, name="admin") as connection:
        yield connection


async def bounded(connection: Connection, most: int | None) -> None:
    """Let the trail hold no more than it does (0), or as much as it wants (None)."""
    reply = await connection.request("$JS.API.STREAM.INFO.BC_AUDIT", timeout=WAIT)
    told = pydantic_core.from_json(reply.payload)
    wanted = {**told["config"], "max_msgs": -1 if most is None else told["state"]["messages"]}
    reply = await connection.request(
        "$JS.API.STREAM.UPDATE.BC_AUDIT", pydantic_core.to_json(wanted), timeout=WAIT
    )
    assert "error" not in pydantic_core.from_json(reply.payload), reply.payload


def results(frames: list[Frame]) -> dict[str, list[Frame]]:
    found: dict[str, dict[str, Frame]] = {}
    for frame in frames:
        if frame["type"] == "tool_result":
            found.setdefault(frame["request_id"], {})[frame["cursor"]] = frame
    return {request: list(told.values()) for request, told in found.items()}


async def test_f_killed_handlers_neither_lose_a_request_nor_run_it_twice(tmp_path: Path) -> None:
    platform = await Platform(tmp_path / "data").start("--handlers", "2")
    random = Random("faults")
    worker, ran = counting(platform)
    working = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(WAIT):
            await worker.serving.wait()
        claims = {"supervision_level": "medium", "human_supervisor": "hugo", "tools": TOOLS}
        ada = await platform.enter(platform.signed("ada", **claims))
        hugo = await platform.enter(platform.signed("hugo", entity_type="human"))
        answering = asyncio.create_task(approving(hugo))
        asked = []
        for round_ in range(ROUNDS):
            for number in range(EACH):
                tool = random.choice(["count", "write"])
                sent = await ada.send("tool_request", tool=tool, params={"n": round_ * 100 + number})
                asked.append(sent["message_id"])
                if number == random.randrange(EACH):
                    platform.kill("-m handlers")
            platform.kill("-m handlers")
        for request in asked:
            await ada.find(lambda f, r=request: f["type"] == "tool_result" and f["request_id"] == r)
        answering.cancel()
        told = results(ada.frames)
        assert {request: len(found) for request, found in told.items()} == dict.fromkeys(asked, 1)
        ran_once = [call.request_id for call in ran]
        assert len(ran_once) == len(set(ran_once)) and set(ran_once) <= set(asked)
        assert {r for r, [one] in told.items() if one["success"]} <= set(ran_once)
        assert (await platform.run("audit", "verify"))[0] == 0
        trail = await platform.json("audit", "tail", "--category", "tool", "--limit", "100000")
        intents = {one["of"] for one in trail if (one["action"], one["phase"]) == ("execute", "intent")}
        assert {f"grant:{call.grant_id}" for call in ran} <= intents
    finally:
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        await platform.part()
        await platform.stop()


async def test_f5_without_a_trail_nothing_is_decided_and_nothing_runs(tmp_path: Path) -> None:
    """The primary copy takes no more: a request that policy would allow waits until it does."""
    platform = await Platform(tmp_path / "data").start()
    worker, ran = counting(platform)
    working = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(WAIT):
            await worker.serving.wait()
        claims = {"supervision_level": "autonomous", "tools": TOOLS}
        ada = await platform.enter(platform.signed("ada", **claims))
        before = await ada.result("tool_request", tool="count", params={"n": 1})
        await ada.find(lambda f: f["type"] == "tool_result" and f["request_id"] == before["request_id"])
        async with admin(platform) as connection:
            log = platform.data / "logs" / "handlers.log"
            await bounded(connection, 0)
            sent = await ada.send("tool_request", tool="count", params={"n": 2})
            assert (await ada.answer_to(sent["message_id"]))["type"] == "accepted"
            await eventually(lambda: asyncio.to_thread(log.read_text), lambda text: "command_failed" in text)
            assert [call.params["n"] for call in ran] == [1]
            assert not [f for f in ada.frames if f.get("request_id") == sent["message_id"]]
            await bounded(connection, None)
        await ada.find(lambda f: f["type"] == "tool_result" and f["request_id"] == sent["message_id"])
        assert [call.params["n"] for call in ran] == [1, 2]
    finally:
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        await platform.part()
        await platform.stop()
