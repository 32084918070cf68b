"""F3, F5: what is kept of a request says who decided, when and why, and is found by the request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from backchannel.domain.audit import Deed
from backchannel.domain.audit.deed import Category
from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.connection import Connection
from backchannel.service.trail import Trail
from tests.eventually import eventually
from tests.promises.running import Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def serving(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    running = await Platform(tmp_path_factory.mktemp("platform")).start()
    yield running
    assert await running.stop() == 0


async def both(platform: Platform, name: str, **claims: Any) -> tuple[Raw, Raw]:
    """An agent at the level high, and the human it answers to."""
    held = {"supervision_level": "high", "tools": {"allowed": ["web_search"]}, "human_supervisor": "hugo"}
    human = await platform.enter(platform.signed("hugo", entity_type="human"))
    return await platform.enter(platform.signed(name, **held, **claims)), human


async def decision(raw: Raw, request_id: str, verb: str) -> Frame:
    return await raw.find(
        lambda f: f["type"] == "tool_decision" and (f["request_id"], f["decision"]) == (request_id, verb)
    )


async def test_f3_a_blank_is_no_reason(platform: Platform) -> None:
    ada, hugo = await both(platform, "blank")
    asked = (await ada.send("tool_request", tool="web_search", params={}))["message_id"]
    await decision(ada, asked, "pending")
    for blank in ("", "   ", "\n\t"):
        told = await hugo.result("approval_response", request_id=asked, approved=True, reason=blank)
        assert (told["type"], told["code"], told["field"]) == ("error", "bad_message", "reason"), blank
    code, _, err = await platform.run("approvals", "approve", asked, "--reason", "  ")
    assert code == 2 and "reason" in err
    [listed] = (await platform.json("approvals", "ls", "--request", asked))["approvals"]
    assert listed["state"] == "pending"


async def test_f3_a_list_of_requests_says_until_when_one_waits_as_all_times_are_said(
    platform: Platform,
) -> None:
    ada, _ = await both(platform, "timely")
    asked = (await ada.send("tool_request", tool="web_search", params={}))["message_id"]
    await decision(ada, asked, "pending")
    [listed] = (await platform.json("approvals", "ls", "--request", asked))["approvals"]
    waits = datetime.fromisoformat(listed["until"]) - datetime.fromisoformat(listed["asked_at"])
    assert waits == timedelta(seconds=300)
    [seen] = (await ada.query("approvals", request_id=asked))["approvals"]
    assert seen["until"] == listed["until"]
    assert datetime.fromisoformat(seen["until"]) > datetime.now(UTC)


async def test_f5_the_trail_of_a_request_is_found_by_its_id_from_the_question_to_the_outcome(
    platform: Platform,
) -> None:
    ada, hugo = await both(platform, "traced")
    asked = (await ada.send("tool_request", tool="web_search", params={}))["message_id"]
    await hugo.result("approval_response", request_id=asked, approved=True, reason="go on")
    await decision(ada, asked, "approved")
    told = await ada.result("tool_result", request_id=asked, success=True, result="found")
    assert told["status"] == "success"
    shown = await platform.json("audit", "show", asked)
    steps = [(one["category"], one["action"], one["phase"], one["entity"]) for one in shown]
    assert steps == [
        ("tool", "approval_requested", "intent", "traced"),
        ("approval", "approved", "intent", "hugo"),
        ("approval", "approved", "result", "hugo"),
        ("tool", "approved", "result", "traced"),
        ("tool", "execute", "result", "traced"),
    ]
    assert await platform.json("audit", "show", f"request:{asked}") == shown
    code, _, _ = await platform.run("audit", "show", "no-such-request")
    assert code == 3


async def test_f3_a_human_who_is_connected_answers_by_the_command_line_as_well(
    platform: Platform, tmp_path: Path
) -> None:
    ada, hugo = await both(platform, "seen")
    mine, theirs = tmp_path / "hugo.token", tmp_path / "seen.token"
    mine.write_text(hugo.token)
    theirs.write_text(ada.token)

    async def approve(request_id: str, token: Path, *more: str) -> int:
        where = ("--url", platform.http, "--token-file", str(token))
        code, _, _ = await platform.run("approvals", "approve", request_id, *where, "--reason", "fine", *more)
        return code

    asked = (await ada.send("tool_request", tool="web_search", params={}))["message_id"]
    await decision(ada, asked, "pending")
    assert await approve(asked, theirs) == 4
    assert await approve("nothing", mine) == 3
    assert await approve(asked, mine, "--condition", "max_rows:many") == 2
    assert await approve(asked, mine, "--condition", "dry_run") == 0
    told = await decision(ada, asked, "approved")
    assert (told["decided_by"], told["conditions"]) == ("hugo", [{"kind": "dry_run", "value": True}])
    assert await approve(asked, mine) == 6
    await hugo.settled()


async def test_f5_what_a_process_that_died_left_open_is_ended_by_those_that_live(platform: Platform) -> None:
    ada, hugo = await both(platform, "orphan")
    asked = (await ada.send("tool_request", tool="web_search", params={}))["message_id"]
    for_a_while = {"seconds": 3600}
    told = await hugo.result(
        "approval_response", request_id=asked, approved=True, reason="go on", allow=for_a_while
    )
    level = {"agent_id": "orphan", "tool_class": "read", "level": "low", "reason": "careful"}
    assert (await hugo.result("trust_update", **level))["status"] == "success"
    assert (await hugo.result("tool_result", request_id=asked, success=False))["status"] == "success"
    trust = {"tool_class": "read", "to": "low", "decided_by": "hugo", "reason": "careful"}
    outcome = {"tool_class": "read", "request_id": asked, "success": False, "severe": False}
    lost: list[tuple[Category, str, dict[str, Any], str]] = [
        ("tool", "approved", {}, f"request:{asked}"),
        (
            "approval",
            "allowance_made",
            {"until": told["allowance"]["until"]},
            f"allowance_made:{told['allowance']['allowance_id']}",
        ),
        ("approval", "trust_set", trust, "trust:lost"),
        ("approval", "outcome_told", outcome, "outcome:lost"),
    ]
    user, password = Home(platform.data).nats_login("platform")
    async with await Connection.open(Address(platform.nats, user, password), name="test") as connection:
        trail = Trail(connection, source="test")
        for category, action, facts, of in lost:
            await trail.write(Deed.intent("main", category, "orphan", action, facts, of))
        await trail.close()

    async def ended() -> dict[str, Any]:
        rows = await platform.json("audit", "tail", "--limit", "200")
        return {row["of"]: row["facts"]["state"] for row in rows if row["facts"].get("reconciled")}

    found = await eventually(ended, lambda known: len(known) == len(lost))
    assert [found[of] for *_, of in lost] == ["approved", "in force", "in force", "kept"]
    assert (await platform.run("audit", "verify"))[0] == 0
