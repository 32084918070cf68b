"""What official npm packages see of a running platform."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.promises.running import Platform

HERE = Path(__file__).resolve().parent
UPDATES = 50
PATIENCE = 60.0


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    running = await Platform(tmp_path / "data").start()
    yield running
    assert await running.stop() == 0


@pytest.fixture
def program() -> str:
    """Path of node; skips the test without it, unless BACKCHANNEL_INTEROP=required says it must be here."""
    found = shutil.which("node")
    if found and (HERE / "node_modules").is_dir():
        return found
    reason = "node is not installed" if not found else "its packages are not installed: run `make interop`"
    if os.environ.get("BACKCHANNEL_INTEROP") == "required":
        pytest.fail(f"the interop tests are required here, and {reason}")
    pytest.skip(reason)


async def report_of_node_clients(program: str, platform: Platform) -> dict[str, Any]:
    login = json.loads((platform.data / "secrets" / "nats.json").read_text())["operator"]
    environment = {
        **os.environ,
        "BC_WS": platform.ws,
        "BC_NATS": platform.nats,
        "BC_TOKEN": await platform.token("ada"),
        "BC_USER": login["user"],
        "BC_PASSWORD": login["password"],
        "BC_COUNT": str(UPDATES),
        "BC_PATIENCE": str(PATIENCE),
    }
    child = await asyncio.create_subprocess_exec(
        program,
        str(HERE / "clients.mjs"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(child.communicate(), PATIENCE + 10)
    assert child.returncode == 0, err.decode()
    report: dict[str, Any] = json.loads(out)
    return report


def without(event: dict[str, Any], *fields: str) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in fields}


async def test_official_node_clients_see_one_history_over_nats_and_websocket(
    program: str, platform: Platform
) -> None:
    report = await report_of_node_clients(program, platform)

    sent, heard = report["sent"], report["heard"]
    stored = [entry["event"] for entry in report["stored"]]
    sequences = [entry["sequence"] for entry in report["stored"]]

    # The log holds exactly what was sent, once, in order, with the sender filled in and unknown fields kept.
    assert [without(event, "sender_agent_id") for event in stored] == sent
    assert {event["sender_agent_id"] for event in stored} == {"ada"}
    assert sequences == sorted(set(sequences))
    # The socket said the same, and added where each event stands.
    assert [without(event, "cursor") for event in heard] == stored
    cursors = [event["cursor"] for event in heard]
    assert len(set(cursors)) == len(cursors)
    # What was promised with `accepted` is where it was then heard.
    assert [answer["cursor"] for answer in report["accepted"]] == cursors[:UPDATES]
    assert report["duplicate"]["original_message_id"] == sent[0]["message_id"]
    assert report["errors"] == []
    assert report["welcome"]["agent_id"] == "ada"
    # A forged token does not get as far as a socket.
    assert report["refusal"] == 401
