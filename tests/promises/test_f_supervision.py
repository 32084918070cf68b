"""F1, F2, F3, F6: levels, policy, approvals by humans, through a running platform."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from tests.promises.running import Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")
TOOLS = {
    "allowed": ["web_search", "file_read", "plan"],
    "restricted": ["file_write"],
    "experimental": ["code_execution"],
    "blocked": ["shell"],
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def serving(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    running = await Platform(tmp_path_factory.mktemp("platform")).start()
    yield running
    assert await running.stop() == 0


async def agent(platform: Platform, name: str, level: str, human: str | None = None, **claims: Any) -> Raw:
    held = {"supervision_level": level, "tools": TOOLS} | ({"human_supervisor": human} if human else {})
    return await platform.enter(platform.signed(name, **{**held, **claims}))


async def human(platform: Platform, name: str) -> Raw:
    return await platform.enter(platform.signed(name, entity_type="human"))


async def decided(raw: Raw, tool: str, params: Frame | None = None, **fields: Any) -> Frame:
    """Ask for a tool; the first decision about it."""
    sent = await raw.send("tool_request", tool=tool, params=params or {}, **fields)
    assert (await raw.answer_to(sent["message_id"]))["type"] == "accepted"
    return await decision(raw, sent["message_id"])


async def decision(raw: Raw, request_id: str) -> Frame:
    return await raw.find(lambda f: f["type"] == "tool_decision" and f["request_id"] == request_id)


async def question(raw: Raw, request_id: str) -> Frame:
    return await raw.find(lambda f: f["type"] == "approval_request" and f["request_id"] == request_id)


EXPECTED = {
    ("autonomous", "web_search"): "approved",
    ("autonomous", "file_write"): "approved",
    ("autonomous", "code_execution"): "pending",
    ("autonomous", "shell"): "denied",
    ("autonomous", "unheard_of"): "denied",
    ("low", "web_search"): "approved",
    ("low", "file_write"): "approved",
    ("low", "code_execution"): "pending",
    ("low", "shell"): "denied",
    ("medium", "web_search"): "approved",
    ("medium", "file_write"): "pending",
    ("medium", "code_execution"): "pending",
    ("medium", "plan"): "pending",
    ("medium", "shell"): "denied",
    ("medium", "unheard_of"): "denied",
    ("high", "web_search"): "pending",
    ("high", "file_write"): "pending",
    ("high", "shell"): "denied",
    ("locked", "web_search"): "denied",
    ("locked", "file_write"): "denied",
    ("locked", "shell"): "denied",
}


@pytest.mark.parametrize("level", ["autonomous", "low", "medium", "high", "locked"])
async def test_f1_each_level_lets_go_on_what_it_should_and_the_trail_has_all_of_it(
    platform: Platform, level: str
) -> None:
    name = f"agent-{level}"
    ada = await agent(platform, name, level, "hugo")
    found = {}
    for (one, tool), _ in EXPECTED.items():
        if one == level:
            told = await decided(ada, tool)
            found[one, tool] = told["decision"]
            assert told["reason"] and told["collaborative_notes"].startswith("[from the platform]")
            assert bool(told["grant"]) == (told["decision"] == "approved")
    assert found == {key: verb for key, verb in EXPECTED.items() if key[0] == level}
    shown = await platform.json("audit", "tail", "--entity", name, "--category", "tool", "--limit", "100")
    asked = {record["facts"]["tool"] for record in shown if record["phase"] == "intent"}
    assert asked == {tool for one, tool in EXPECTED if one == level}


async def test_f1_low_goes_on_and_tells_the_supervisor_what_is_unusual(platform: Platform) -> None:
    ada, hugo = await agent(platform, "lowell", "low", "heidi"), await human(platform, "heidi")
    for number in range(6):
        told = await decided(ada, "file_read", {"path": f"/srv/data/{number}.txt"})
        assert told["decision"] == "approved"
    told = await decided(ada, "file_write", {"path": "/etc/passwd"})
    assert told["decision"] == "approved"
    notice = await question(hugo, told["request_id"])
    assert notice["decided"] and any("/etc" in why for why in notice["unusual"])


async def test_f2_risk_comes_from_tool_parameters_and_path(platform: Platform) -> None:
    ada = await agent(platform, "risky", "medium", "hugo")
    calm = await decided(ada, "file_read", {"path": "/srv/data/a.txt"})
    assert (calm["decision"], calm["risk"]["level"]) == ("approved", "low")
    for params, level in (
        ({"path": "/home/ada/a.txt"}, "medium"),
        ({"path": "/srv/../etc/shadow"}, "critical"),
        ({"query": "DROP   TABLE users"}, "critical"),
        ({"deep": [{"file": "~/.ssh/id"}]}, "critical"),
    ):
        told = await decided(ada, "file_read", params)
        assert (told["decision"], told["risk"]["level"]) == ("pending", level), params


async def test_f2_chains_are_named_watched_and_of_bounded_length(platform: Platform) -> None:
    chains = {
        "allowed_chains": ["research"],
        "supervised_chains": ["publish"],
        "max_chain_length": 3,
        "require_human_approval": ["plan"],
    }
    ada = await agent(platform, "chained", "autonomous", "hugo", tool_chains=chains)
    assert (await decided(ada, "web_search", chain="research"))["decision"] == "approved"
    assert (await decided(ada, "web_search", chain="publish"))["decision"] == "pending"
    assert (await decided(ada, "web_search", chain="secret"))["decision"] == "denied"
    assert (await decided(ada, "plan"))["decision"] == "pending"
    run = [await decided(ada, "web_search", chain="research", chain_id="run-1") for _ in range(4)]
    assert [told["decision"] for told in run] == ["approved"] * 3 + ["denied"]
    assert "chain has 3 calls" in run[3]["reason"]
    unnamed = [await decided(ada, "web_search", chain="research") for _ in range(3)]
    assert [told["decision"] for told in unnamed] == ["approved"] * 2 + ["denied"], "leaving the run out"


async def test_f2_a_token_may_want_whole_kinds_of_calls_to_be_asked_for(platform: Platform) -> None:
    chains = {"require_human_approval": ["any_file_modification", "external_api_calls"]}
    tools = {"allowed": ["file_write", "web_search", "memory_query", "forecast"]}
    ada = await agent(platform, "kinds", "autonomous", "hugo", tool_chains=chains, tools=tools)
    for tool, decision in (
        ("file_write", "pending"),
        ("web_search", "approved"),
        ("memory_query", "approved"),
        ("forecast", "pending"),
    ):
        assert (await decided(ada, tool))["decision"] == decision, tool


async def test_f2_no_choice_of_ids_makes_a_chain_longer_than_it_may_be(platform: Platform) -> None:
    chains = {"allowed_chains": ["research"], "max_chain_length": 3}
    for name, ids, then in (
        ("renamer", lambda n: {"chain": "research", "chain_id": f"run-{n}"}, "pending"),
        ("retracer", lambda n: {"chain": "research", "trace_id": f"trace-{n}"}, "pending"),
        ("rerunner", lambda n: {"chain_id": f"run-{n}", "trace_id": "one"}, "denied"),
    ):
        ada = await agent(platform, name, "autonomous", "hugo", tool_chains=chains)
        told = [(await decided(ada, "web_search", **ids(number)))["decision"] for number in range(4)]
        assert told == ["approved"] * 3 + [then], name
    ada, told, last = await agent(platform, "causal", "autonomous", "hugo", tool_chains=chains), [], {}
    for number in range(4):
        found = await decided(ada, "web_search", trace_id=f"trace-{number}", **last)
        last = {"causation_id": found["request_id"]}
        told.append(found["decision"])
    assert told == ["approved"] * 3 + ["denied"], "each call follows from the one before"


async def test_f3_a_human_approves_with_conditions_and_the_grant_carries_them(platform: Platform) -> None:
    ada, hugo = await agent(platform, "writer", "medium", "hugo"), await human(platform, "hugo")
    params = {"path": "/home/ada/results.json", "content": "{}"}
    first = await decided(ada, "file_write", params, agent_reasoning="To show the results.")
    assert first["decision"] == "pending"
    asked = await question(hugo, first["request_id"])
    assert (asked["agent_id"], asked["tool"], asked["params"]) == ("writer", "file_write", params)
    assert asked["agent_reasoning"] == "To show the results." and asked["risk"]["level"] == "medium"
    assert asked["expires_at"] and asked["alternatives"] and "system_context" in asked
    wrong = await hugo.result(
        "approval_response",
        request_id=first["request_id"],
        approved=True,
        reason="ok",
        conditions=[{"kind": "full_moon", "value": True}],
    )
    assert (wrong["status"], wrong["code"]) == ("failed", "bad_message")
    answer = await hugo.result(
        "approval_response",
        request_id=first["request_id"],
        approved=True,
        reason="Good reasoning, safe location",
        conditions=["backup_first: true", {"path_prefix": "/home/ada"}],
    )
    assert answer["status"] == "success"
    told = await decision(ada, first["request_id"])
    assert (told["decision"], told["reason"], told["decided_by"]) == (
        "approved",
        "Good reasoning, safe location",
        "hugo",
    )
    assert told["conditions"] == [
        {"kind": "backup_first", "value": True},
        {"kind": "path_prefix", "value": "/home/ada"},
    ]
    assert told["grant"]


async def test_f3_a_denial_guides_and_keeps_apart_who_said_what(platform: Platform) -> None:
    ada, hugo = await agent(platform, "denied", "high", "hugo"), await human(platform, "hugo")
    first = await decided(ada, "file_write", {"path": "a"})
    await hugo.result(
        "approval_response",
        request_id=first["request_id"],
        approved=False,
        reason="Too large for now.",
        alternatives=["write half of it"],
    )
    told = await decision(ada, first["request_id"])
    assert (told["decision"], told["reason"]) == ("denied", "Too large for now.")
    assert told["alternatives"] == ["write half of it"] and told["grant"] is None
    assert told["collaborative_notes"].startswith("[from the platform]")
    assert "Too large" not in told["collaborative_notes"]


async def test_f3_nobody_decides_but_the_humans_who_are_responsible(platform: Platform) -> None:
    ada = await agent(platform, "asker", "high", "hugo", human_partner="petra")
    mate, stranger = await agent(platform, "mate", "autonomous"), await human(platform, "stranger")
    itself = await agent(platform, "selfish", "high", "selfish", entity_type="human")
    own = (await decided(itself, "web_search"))["request_id"]
    theirs = (await decided(ada, "web_search"))["request_id"]

    async def tries(raw: Raw, request_id: str) -> str:
        told = await raw.result(
            "approval_response", request_id=request_id, approved=True, reason="let me", entity_type="human"
        )
        return str(told["code"])

    assert await tries(ada, theirs) == "forbidden"
    assert await tries(mate, theirs) == "forbidden"
    assert await tries(stranger, theirs) == "not_found"
    assert await tries(stranger, "never-asked") == "not_found"
    assert await tries(itself, own) == "forbidden"
    petra = await human(platform, "petra")
    done = await petra.result(
        "approval_response", request_id=theirs, approved=True, reason="I am its partner"
    )
    assert done["status"] == "success"


async def test_f3_of_two_answers_at_once_the_first_one_counts_and_the_other_is_told(
    platform: Platform,
) -> None:
    ada = await agent(platform, "torn", "high", "hugo", human_partner="petra")
    hugo, petra = await human(platform, "hugo"), await human(platform, "petra")
    for _ in range(5):
        asked = (await decided(ada, "web_search"))["request_id"]
        answers = await asyncio.gather(
            hugo.result("approval_response", request_id=asked, approved=True, reason="yes"),
            petra.result("approval_response", request_id=asked, approved=False, reason="no"),
        )
        assert sorted(str(one.get("code")) for one in answers) == ["None", "conflict"]
        won = "approved" if answers[0]["status"] == "success" else "denied"
        assert (await decision(ada, asked))["decision"] == won
        listed = await platform.json("approvals", "ls", "--request", asked)
        assert [one["state"] for one in listed["approvals"]] == [won]


async def test_f3_repeating_a_request_or_an_answer_has_no_second_effect(platform: Platform) -> None:
    ada, hugo = await agent(platform, "twice", "high", "hugo"), await human(platform, "hugo")
    sent = await ada.send("tool_request", tool="web_search", params={"q": 1})
    asked = (await decision(ada, sent["message_id"]))["request_id"]
    await ada.send_raw(sent)
    assert (await ada.answer_to(sent["message_id"]))["type"] == "accepted"
    assert (await ada.answer_to(sent["message_id"]))["type"] == "duplicate_ack"
    said = await hugo.send("approval_response", request_id=asked, approved=True, reason="yes")
    await hugo.result_of(said["message_id"])
    await hugo.send_raw(said)
    late = await hugo.result("approval_response", request_id=asked, approved=False, reason="no")
    assert late["code"] == "conflict" and "hugo" in late["message"]
    await ada.settled()
    await hugo.settled()
    told = [f["decision"] for f in ada.events("tool_decision") if f["request_id"] == asked]
    assert told == ["pending", "approved"]
    assert len([f for f in hugo.events("approval_request") if f["request_id"] == asked]) == 1


async def test_f3_another_agents_request_cannot_be_taken_over_by_its_id(platform: Platform) -> None:
    ada, eve = await agent(platform, "owner", "high", "hugo"), await agent(platform, "eve", "high", "hugo")
    asked = (await decided(ada, "web_search", {"q": 1}))["request_id"]
    sent = await eve.send("tool_request", tool="file_write", params={"path": "/etc/x"}, message_id=asked)
    assert (await eve.result_of(sent["message_id"]))["code"] == "conflict"
    told = await eve.result("tool_result", request_id=asked, success=True)
    assert told["code"] == "not_found"


async def test_f3_an_allowance_stands_for_answers_for_a_while_and_for_nothing_else(
    platform: Platform,
) -> None:
    ada, hugo = await agent(platform, "often", "medium", "hugo"), await human(platform, "hugo")
    asked = (await decided(ada, "file_write", {"path": "/srv/out/1"}))["request_id"]
    await hugo.result(
        "approval_response",
        request_id=asked,
        approved=True,
        reason="these are fine",
        conditions=["backup_first"],
        allow={"seconds": 3600, "path_prefix": "/srv/out"},
    )
    again = await decided(ada, "file_write", {"path": "/srv/out/2"})
    assert (again["decision"], again["decided_by"]) == ("approved", "hugo")
    assert again["conditions"] == [{"kind": "backup_first", "value": True}]
    for path in ("/srv/other/2", "/srv/out/../etc/passwd", "/home/ada/x"):
        assert (await decided(ada, "file_write", {"path": path}))["decision"] == "pending", path
    [rule] = (await platform.json("approvals", "ls", "--agent", "often"))["allowances"]
    assert (rule["agent"], rule["tool"], rule["by"]) == ("often", "file_write", "hugo")
    shown = await platform.json("audit", "show", f"allowance_made:{rule['allowance_id']}")
    [intent] = [one for one in shown if one["phase"] == "intent"]
    assert (intent["facts"]["path_prefix"], intent["facts"]["by"]) == ("/srv/out", "hugo")


async def test_f3_requests_of_one_kind_may_be_answered_together(platform: Platform) -> None:
    ada, hugo = await agent(platform, "many", "high", "hugo"), await human(platform, "hugo")
    same = [(await decided(ada, "file_write", {"path": f"/srv/a/{n}"}))["request_id"] for n in range(4)]
    other = (await decided(ada, "file_write", {"path": "/srv/b/1"}))["request_id"]
    asked = [await question(hugo, request_id) for request_id in [*same, other]]
    assert [one["together"]["count"] for one in asked] == [1, 2, 3, 4, 1]
    assert {one["together"]["leader"] for one in asked[:4]} == {same[0]}
    told = await hugo.result(
        "approval_response", request_id=same[1], approved=True, reason="all of these", together=same
    )
    assert sorted(told["together_with"]) == sorted({*same} - {same[1]})
    grants = [(await decision(ada, request_id))["grant"] for request_id in same]
    assert all(grants) and len(set(grants)) == 4
    [left] = (await platform.json("approvals", "ls", "--agent", "many", "--state", "pending"))["approvals"]
    assert left["request_id"] == other


async def test_f3_a_request_put_off_is_asked_again_at_its_time(platform: Platform) -> None:
    ada, hugo = await agent(platform, "patient", "high", "hugo"), await human(platform, "hugo")
    asked = (await decided(ada, "web_search"))["request_id"]
    await question(hugo, asked)
    said = {"request_id": asked, "reschedule": 1}
    both = await hugo.result("approval_response", **said, approved=True, reason="yes, but later")
    assert (both["code"], both["field"]) == ("bad_message", "reschedule")
    await hugo.result("approval_response", **said, approved=False, reason="later")
    assert (await decision(ada, asked))["decision"] == "rescheduled"
    again = await question(hugo, asked)
    assert again["again"]
    assert (await decision(ada, asked))["decision"] == "pending"
    await hugo.result("approval_response", request_id=asked, approved=True, reason="now it is fine")
    assert (await decision(ada, asked))["decision"] == "approved"


async def test_f3_the_operator_answers_by_the_command_line(platform: Platform) -> None:
    ada = await agent(platform, "lonely", "high")
    one, other = (await decided(ada, "web_search"))["request_id"], (await decided(ada, "plan"))["request_id"]
    code, out, err = await platform.run("approvals", "ls")
    assert code == 0 and one in out and other in out, err
    conditions = ("--condition", "dry_run", "--condition", "backup_frist")
    code, _, err = await platform.run("approvals", "approve", one, "--reason", "fine", *conditions)
    assert code == 0 and "'backup_frist' is a note" in err
    assert (await decision(ada, one))["conditions"] == [
        {"kind": "dry_run", "value": True},
        {"kind": "note", "value": "backup_frist"},
    ]
    code, _, err = await platform.run("approvals", "deny", other, "--reason", "no")
    assert code == 0, err
    assert (await decision(ada, other))["decision"] == "denied"
    assert (await platform.run("approvals", "approve", other, "--reason", "yes"))[0] == 6
    assert (await platform.run("approvals", "approve", "nothing", "--reason", "yes"))[0] == 3


async def test_f6_a_high_risk_request_overtakes_and_reaches_the_supervisor_at_once(
    platform: Platform,
) -> None:
    ada, hugo = await agent(platform, "danger", "medium", "hugo"), await human(platform, "hugo")
    told = await decided(ada, "file_write", {"path": "/etc/passwd"})
    asked = await question(hugo, told["request_id"])
    assert asked["risk"]["level"] == "critical"
    shown = await platform.json("streams", "view", "BC_EVENTS_main", "--limit", "100000")
    subjects = [
        one["subject"] for one in shown if told["request_id"] in str(one) and ".inbox.hugo." in one["subject"]
    ]
    assert subjects and all(".critical." in subject for subject in subjects)


@pytest.mark.parametrize("level", ["autonomous", "low"])
async def test_f6_the_supervisor_hears_at_once_of_a_high_risk_that_goes_on(
    platform: Platform, level: str
) -> None:
    ada, helen = await agent(platform, f"bold-{level}", level, "helen"), await human(platform, "helen")
    calm = await decided(ada, "file_read", {"path": "/srv/data/a.txt"})
    told = await decided(ada, "file_write", {"path": "/etc/passwd"})
    assert (calm["decision"], told["decision"]) == ("approved", "approved")
    notice = await question(helen, told["request_id"])
    assert (notice["decided"], notice["risk"]["level"]) == (True, "critical")
    await helen.settled()
    assert calm["request_id"] not in {f["request_id"] for f in helen.events("approval_request")}


async def test_f3_nobody_answers_then_the_next_one_is_asked_then_it_is_denied(tmp_path: Path) -> None:
    platform = await Platform(tmp_path / "data").start()
    try:
        user, password = Home(platform.data).nats_login("operator")
        async with await Connection.open(Address(platform.nats, user, password), name="test") as connection:
            await Bucket(connection, "BC_config").put("approvals.timeout", b"1")
        ada = await agent(platform, "waiter", "high", "hugo", human_partner="petra")
        petra = await human(platform, "petra")
        asked = (await decided(ada, "web_search"))["request_id"]
        assert platform.kill("handlers") > 0
        assert (await question(petra, asked))["escalated"]
        told = await decision(ada, asked)
        assert told["decision"] == "denied" and "nobody decided in time" in told["reason"]
        assert told["decided_by"] is None
        shown = await platform.json("audit", "show", asked)
        [escalated] = [one["facts"] for one in shown if one["action"] == "escalated"]
        assert escalated["to"] == "petra"
        assert (shown[-1]["phase"], shown[-1]["facts"]["reason"]) == ("result", told["reason"])
    finally:
        await platform.part()
        await platform.stop()
