"""Section C, continued: priorities, tests, failures, all-or-nothing merges, and what is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.eventually import PAUSE
from tests.promises.running import Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def spawned(agent: Raw, *others: str, **fields: Any) -> str:
    asked = {"parent_id": "main", "task_description": "look", "participants": list(others)}
    result = await agent.result("sidebar_spawn", **{**asked, **fields})
    assert result["status"] == "success", result
    return str(result["sidebar_id"])


@pytest.mark.parametrize("priority", ["critical", "high", "normal", "low", "background"])
async def test_c2_a_child_takes_its_parents_priority_and_its_events_that_lane(
    platform: Platform, priority: str
) -> None:
    ada = await platform.agent(f"c2-{priority}")
    parent = await spawned(ada, priority=priority)
    child = await spawned(ada, parent_id=parent)
    other = await spawned(ada, parent_id=parent, priority="low")
    assert (await platform.json("sidebars", "show", child))["priority"] == priority
    assert (await platform.json("sidebars", "show", other))["priority"] == "low"
    subject = f"bc.main.evt.ctx.{child}.{priority}.life"
    assert await platform.json("streams", "view", "BC_EVENTS_main", "--subject", subject)


@pytest.mark.parametrize("result", ["passed", "failed", "inconclusive"])
async def test_c9_a_test_result_is_part_of_the_record(platform: Platform, result: str) -> None:
    ada, bob = await platform.agent(f"c9-a-{result}"), await platform.agent(f"c9-b-{result}")
    made = await spawned(ada, f"c9-b-{result}")
    told = {"test_description": "try it", "findings": "it runs", "next_test_suggestion": "try harder"}
    answer = await bob.result("sidebar_test_result", sidebar_id=made, result=result, **told)
    assert answer["status"] == "success"
    heard = await ada.until("sidebar_test_result")
    assert {name: heard[name] for name in told} == told and heard["by"] == f"c9-b-{result}"
    read = await ada.result("query", query="context", params={"context_id": made})
    assert [said["result"] for said in read["exchanges"] if said["type"] == "sidebar_test_result"] == [result]


async def test_c10_a_sidebar_fails_with_a_reason_and_outlives_those_who_left(platform: Platform) -> None:
    ada, bob = await platform.agent("c10-ada"), await platform.agent("c10-bob")
    parent = await spawned(ada, "c10-bob")
    made = await spawned(ada, "c10-bob", parent_id=parent)
    await ada.close()
    failed = await bob.result(
        "sidebar_status_update", sidebar_id=made, new_status="failed", reason="ada has gone"
    )
    assert failed["status"] == "success"
    told = await bob.find(lambda frame: frame["type"] == "sidebar_closed" and frame["sidebar_id"] == made)
    assert (told["final_status"], told["reason"]) == ("failed", "ada has gone")
    await bob.result("sidebar_leave", sidebar_id=parent)
    assert (await platform.json("sidebars", "show", parent))["status"] == "active"


async def test_c7_a_failed_sidebar_lives_again_as_a_fork(platform: Platform) -> None:
    ada = await platform.agent("c7-fay")
    made = await spawned(ada)
    await ada.ask("sidebar_message", sidebar_id=made, content="so far so good")
    await ada.result("sidebar_status_update", sidebar_id=made, new_status="failed", reason="bad luck")
    fork = await ada.result("sidebar_fork", original_sidebar_id=made, fork_reason="once more")
    assert fork["status"] == "success" and fork["forked_from"] == made
    assert fork["inherited_context"][0]["context_id"] == made
    assert (await ada.ask("sidebar_message", sidebar_id=fork["sidebar_id"], content="again"))[
        "type"
    ] == "accepted"


async def test_c14_of_a_merge_all_is_there_or_nothing_whenever_somebody_looks(platform: Platform) -> None:
    ada = await platform.agent("c14-ada")
    parent = await spawned(ada)
    children = [await spawned(ada, parent_id=parent) for _ in range(10)]

    eyes = await platform.enter(ada.token, permission="observer", purpose="observer")

    async def shown(sidebar: str) -> Frame:
        found: Frame = (await eyes.query("sidebar", sidebar_id=sidebar))["sidebar"]
        return found

    async def results() -> list[str]:
        return [told["sidebar_id"] for told in (await shown(parent))["child_results"]]

    async def look(child: str) -> None:
        """As long as the child is open the parent has nothing of it, and from then on everything."""
        while (await shown(child))["status"] != "merged":
            if child in await results():
                assert (await shown(child))["status"] == "merged"
            await asyncio.sleep(PAUSE)
        assert child in await results()

    watched = asyncio.create_task(look(children[-1]))
    for child in children:
        merged = await ada.result(
            "sidebar_merge", sidebar_id=child, consolidated_findings=child, success=True
        )
        assert merged["status"] == "success"
    async with asyncio.timeout(60):
        await watched
    log = await platform.json("streams", "view", "BC_EVENTS_main", "--limit", "1000")
    rows = {row["sequence"]: row for row in log}
    for child in children:
        ends = [at for at, row in rows.items() if is_event(row, "sidebar_merge", child)]
        assert len(ends) == 1
        assert is_event(rows[ends[0] + 1], "sidebar_closed", child)


def is_event(row: Frame, kind: str, sidebar: str) -> bool:
    return row["type"] == kind and sidebar in str(row)


async def test_c6_the_first_of_two_merges_counts_and_both_are_answered_alike(platform: Platform) -> None:
    ada, bob = await platform.agent("c6-dan"), await platform.agent("c6-eva")
    made = await spawned(ada, "c6-eva")
    said = {"sidebar_id": made, "success": True}
    answers = await asyncio.gather(
        ada.result("sidebar_merge", **said, consolidated_findings="mine"),
        bob.result("sidebar_merge", **said, consolidated_findings="no, mine"),
    )
    assert [answer["status"] for answer in answers] == ["success", "success"]
    await bob.settled()
    assert len(bob.events("sidebar_merge")) == 1
    assert len([told for told in bob.events("sidebar_closed") if told["sidebar_id"] == made]) == 1


REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("an unknown sidebar", "sidebar_merge", {"consolidated_findings": "", "success": True}, "forbidden"),
    ("an unknown parent", "sidebar_spawn", {"parent_id": "nowhere", "task_description": ""}, "forbidden"),
    ("an unknown child's parent", "sidebar_child_spawn", {"sub_task_description": ""}, "forbidden"),
    ("an unknown original", "sidebar_fork", {"fork_reason": ""}, "forbidden"),
    (
        "an id in use",
        "sidebar_spawn",
        {"parent_id": "main", "task_description": "", "sidebar_id": "main"},
        "conflict",
    ),
    (
        "a sidebar below itself",
        "sidebar_spawn",
        {"parent_id": "loop", "sidebar_id": "loop", "task_description": ""},
        "forbidden",
    ),
]


@pytest.mark.parametrize(("what", "kind", "fields", "code"), REFUSED, ids=[row[0] for row in REFUSED])
async def test_what_names_the_wrong_thing_is_refused_by_code_and_changes_nothing(
    platform: Platform, what: str, kind: str, fields: dict[str, Any], code: str
) -> None:
    ada = await platform.agent("bad-ada")
    named = {
        "sidebar_merge": "sidebar_id",
        "sidebar_child_spawn": "parent_sidebar_id",
        "sidebar_fork": "original_sidebar_id",
    }
    if kind in named:
        fields = {named[kind]: "nowhere", **fields}
    before = await platform.json("sidebars", "ls")
    answer = await ada.result(kind, **fields)
    assert answer["status"] in ("failed", "denied") and answer["code"] == code, answer
    assert await platform.json("sidebars", "ls") == before


async def test_ten_thousand_participants_and_a_mention_of_oneself_are_refused_at_the_door(
    platform: Platform,
) -> None:
    ada = await platform.agent("bad-bea")
    crowd = await ada.ask(
        "sidebar_spawn",
        parent_id="main",
        task_description="everybody",
        participants=[f"agent-{number}" for number in range(10_000)],
    )
    assert (crowd["type"], crowd["code"], crowd["field"]) == ("error", "bad_message", "participants")
    mirror = await ada.ask("mention_route", target_agents=["bad-bea"], message="me")
    assert (mirror["type"], mirror["code"]) == ("error", "bad_message")


async def test_a_foreign_sidebar_cannot_be_changed_whatever_is_asked(platform: Platform) -> None:
    ada, eve = await platform.agent("bad-cid"), await platform.agent("bad-eve")
    made = await spawned(ada)
    before = await platform.json("sidebars", "show", made)
    for kind, fields in (
        ("sidebar_pause", {"reason": "x"}),
        ("sidebar_resume", {"reason": "x"}),
        ("sidebar_status_update", {"new_status": "failed"}),
        ("sidebar_waiting_update", {"waiting_for": "human_input", "description": "x"}),
        ("sidebar_test_result", {"test_description": "x", "result": "passed", "findings": "x"}),
        ("sidebar_invite", {"agents": ["bad-eve"]}),
        ("sidebar_join", {}),
        ("sidebar_merge", {"consolidated_findings": "x", "success": True}),
        ("sidebar_archive", {"archive_reason": "x"}),
    ):
        answer = await eve.result(kind, sidebar_id=made, **fields)
        assert (answer["status"], answer["code"]) == ("denied", "forbidden"), (kind, answer)
    child = await eve.result("sidebar_child_spawn", parent_sidebar_id=made, sub_task_description="x")
    fork = await eve.result("sidebar_fork", original_sidebar_id=made, fork_reason="x")
    assert child["code"] == fork["code"] == "forbidden"
    assert await platform.json("sidebars", "show", made) == before


async def test_c4_the_answer_carries_the_inherited_exchanges_while_they_are_few_and_small(
    platform: Platform,
) -> None:
    ada = await platform.agent("c4-few")
    parent = await spawned(ada, inherit={"depth": 0})
    await ada.ask("sidebar_message", sidebar_id=parent, content="short")
    asked = {"parent_id": parent, "task_description": "look", "inherit": {"depth": 1}}
    few = await ada.result("sidebar_spawn", **asked)
    assert [(said["content"], said["scope"]) for said in few["exchanges"]] == [("short", "inherited")]
    await ada.ask("sidebar_message", sidebar_id=parent, content="long" * 20_000)
    much = await ada.result("sidebar_spawn", **asked)
    assert "exchanges" not in much and much["inherited_context"][0]["context_id"] == parent
