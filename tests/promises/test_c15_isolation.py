"""C15: who is not in a sidebar neither receives its content nor can ask for it, by any door."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.build import content
from tests.promises.http import fetch
from tests.promises.running import Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")
CANARY = "the-canary-sings"
"""What is said in the room after whoever must not hear it was there."""

OUTSIDERS: dict[str, dict[str, Any]] = {
    "stranger": {},
    "former": {},
    "mate": {},  # is in the parent
    "human": {"entity_type": "human"},
    "service": {"entity_type": "service"},
    "watcher": {},  # an observer that wants to hear everything
    "elsewhere": {"sidebar_access": ["another-room"]},
}


@dataclass
class Room:
    """A sidebar with something secret in it, everybody outside, and what they were ever told."""

    platform: Platform
    sidebar_id: str
    message_id: str
    start: str
    insider: Raw
    outsiders: dict[str, Raw] = field(default_factory=dict)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def room(serving: Platform) -> AsyncIterator[Room]:
    platform = serving
    outsiders = {}
    for name, claims in OUTSIDERS.items():
        hello = {"subscription": {"mode": "everything"}} | (
            {"permission": "observer"} if name == "watcher" else {}
        )
        outsiders[name] = await platform.enter(platform.signed(name, **claims), **hello)
    ada = await platform.agent("ada")
    start = ada.welcome["cursor"]
    parent = await ada.result(
        "sidebar_spawn", parent_id="main", task_description="parent", participants=["mate"]
    )
    spawned = await ada.result(
        "sidebar_spawn",
        parent_id=parent["sidebar_id"],
        task_description=f"secret work, {CANARY}",
        participants=["former"],
    )
    sidebar_id = spawned["sidebar_id"]
    left = await outsiders["former"].result("sidebar_leave", sidebar_id=sidebar_id)
    assert left["status"] == "success", left
    outsiders["former"].frames.clear()
    said = await ada.send("sidebar_message", sidebar_id=sidebar_id, content=f"{CANARY} at nine", topic="tls")
    assert (await ada.answer_to(said["message_id"]))["type"] == "accepted"
    kept = {"content": f"{CANARY} at ten", "topic": "tls"}
    await ada.ask("memory_update", context_id=sidebar_id, exchange=kept, priority="critical")
    tested = {"test_description": "t", "result": "passed", "findings": CANARY}
    await ada.result("sidebar_test_result", sidebar_id=sidebar_id, **tested)
    yield Room(platform, sidebar_id, said["message_id"], start, ada, outsiders)


def attempts(room: Room) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every way to ask: a name, a message type, its fields."""
    sidebar = {"sidebar_id": room.sidebar_id}
    for query, params in (
        ("context", {"context_id": room.sidebar_id}),
        ("context", {"context_id": room.sidebar_id, "inherited": True, "after": room.start}),
        ("sidebar", sidebar),
        ("sidebar", {**sidebar, "until": room.start}),
        ("history", sidebar),
        ("delivery", {"message_id": room.message_id}),
        ("explain", {"message_id": room.message_id}),
        ("events", {"from": room.start, "to": room.start}),
        ("events", {"since": room.start}),
        ("search", {"text": CANARY}),
        ("heat_map", {}),
        ("status", {}),
        ("sidebars", {}),
        ("agents", {}),
        ("approvals", {}),
        ("wait_for", {"from": "ada", "timeout": 0.1}),
        ("wait_for", {"message_id": room.message_id, "timeout": 0.1}),
    ):
        yield f"query {query}", "query", {"query": query, "params": params}
    for kind, fields in (
        ("sidebar_message", {"content": "let me in"}),
        ("sidebar_join", {}),
        ("sidebar_invite", {"agents": ["stranger"]}),
        ("sidebar_pause", {"reason": "x"}),
        ("sidebar_status_update", {"new_status": "reviewing"}),
        ("sidebar_test_result", {"test_description": "t", "result": "passed", "findings": "f"}),
        ("sidebar_merge", {"consolidated_findings": "x", "success": True}),
        ("sidebar_archive", {"archive_reason": "x"}),
    ):
        yield kind, kind, {**sidebar, **fields}
    yield "fork", "sidebar_fork", {"original_sidebar_id": room.sidebar_id, "fork_reason": "x"}
    yield "spawn below", "sidebar_spawn", {"parent_id": room.sidebar_id, "task_description": "x"}
    child = {"parent_sidebar_id": room.sidebar_id, "sub_task_description": "x"}
    yield "child", "sidebar_child_spawn", child
    yield "memory", "memory_update", {"context_id": room.sidebar_id, "exchange": {"content": "x"}}
    yield "mention", "mention_route", {"target_agents": ["ada"], "message": "x", **sidebar}
    yield "infodump since", "infodump", {"since": room.start}
    yield "infodump pattern", "infodump", {"pattern": f"*{CANARY}*"}
    yield "infodump all", "infodump", {}
    yield "handled", "handled", {"handles": room.message_id, "status": "done"}


async def answered(raw: Raw, kind: str, fields: dict[str, Any]) -> Frame:
    """The last word on it: an error, or the result, or that it was stored."""
    sent = await raw.send(kind, **fields)
    mine = sent["message_id"]
    final = await raw.find(
        lambda f: (
            (f["type"] in ("result", "error") and f.get("in_reply_to") == mine)
            or (f["type"] == "accepted" and f["in_reply_to"] == mine and kind in STORED)
        )
    )
    return final


MAY_COME_BACK = ("sidebar_join", "sidebar_fork")
"""What whoever left by itself may do; it is no outsider any more then."""

STORED = ("sidebar_message", "memory_update", "mention_route")


@pytest.mark.parametrize("who", OUTSIDERS)
async def test_c15_nothing_an_outsider_asks_over_websocket_brings_the_content(room: Room, who: str) -> None:
    raw = room.outsiders[who]
    for name, kind, fields in attempts(room):
        if who == "former" and kind in MAY_COME_BACK:
            continue
        final = await answered(raw, kind, fields)
        if kind not in ("query", "infodump", "handled"):
            assert final["type"] == "error" or final["status"] != "success", (name, final)
    await raw.result("query", query="ping", params={})
    told = [frame for frame in raw.frames if CANARY in json.dumps(frame)]
    if who in ("mate", "former"):  # they may look at the outline, the task among it
        told = [frame for frame in told if f"{CANARY} at" in json.dumps(frame)]
    assert told == []


async def test_c15_an_outsider_that_resumes_from_before_hears_nothing_of_it(room: Room) -> None:
    for who in ("stranger", "former", "elsewhere"):
        first = room.outsiders[who]
        resume = {"session": first.welcome["session"], "cursor": room.start}
        again = await room.platform.enter(
            room.platform.signed(who, **OUTSIDERS[who]), resume=resume, subscription={"mode": "everything"}
        )
        await again.settled()
        told = [f for f in again.frames if f"{CANARY} at" in json.dumps(f)]
        assert told == []


@pytest.mark.parametrize("who", ["stranger", "former", "service"])
async def test_c15_http_and_the_command_line_with_a_token_bring_no_more(
    room: Room, who: str, tmp_path: Path
) -> None:
    token = room.platform.signed(who, **OUTSIDERS[who])
    update = content("memory_update", context_id=room.sidebar_id, exchange={"content": "x"})
    stored = await fetch(f"{room.platform.http}/store", update, Authorization=f"Bearer {token}")
    assert stored.status in (403, 404), stored.body
    file = tmp_path / "token"
    file.write_text(token)
    for words in (
        ("sidebars", "show", room.sidebar_id),
        ("sidebars", "ls"),
        ("sidebars", "tree"),
        ("sidebars", "history", room.sidebar_id),
        ("agents", "ls"),
        ("status",),
        ("approvals", "ls"),
        ("explain", room.message_id),
    ):
        code, out, err = await room.platform.run(
            *words, "--json", "--url", room.platform.http, "--token-file", str(file)
        )
        assert f"{CANARY} at" not in out + err, words
        assert code in (0, 2, 3, 4), (words, err)


async def test_c15_who_is_in_it_hears_and_reads_all_of_it(room: Room) -> None:
    ada = room.insider
    found = await ada.result("query", query="context", params={"context_id": room.sidebar_id})
    texts = [json.dumps(exchange) for exchange in found["exchanges"]]
    assert sum(f"{CANARY} at" in text for text in texts) == 2
    other = {"message_id": str(uuid4())}
    assert (await ada.result("query", query="delivery", params=other))["status"] != "success"
    await ada.settled()
    heard = [f for f in ada.frames if "cursor" in f and f.get("sender_agent_id") in OUTSIDERS]
    assert [f for f in heard if f.get("sidebar_id") == room.sidebar_id and f["type"] != "sidebar_leave"] == []
