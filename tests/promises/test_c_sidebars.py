"""Section C: sidebars, through a running platform."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.promises.running import Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def spawned(agent: Raw, *others: str, **fields: Any) -> Frame:
    result = await agent.result(
        "sidebar_spawn",
        **{"parent_id": "main", "task_description": "look", "participants": list(others), **fields},
    )
    assert result["status"] == "success", result
    return result


async def test_c3_a_spawn_tells_participants_and_its_answer_carries_the_context(platform: Platform) -> None:
    ada, bob = await platform.agent("c3-ada"), await platform.agent("c3-bob")
    await ada.ask(
        "memory_update", context_id="main", exchange={"content": "the first clue", "topic": "clues"}
    )
    result = await spawned(ada, "c3-bob", success_criteria="found")
    assert result["participants"] == ["c3-ada", "c3-bob"]
    assert result["inherited_context"][0]["context_id"] == "main"
    assert {"from", "to"} <= set(result["inherited_context"][0])
    told = await bob.until("sidebar_spawn")
    assert told["sidebar_id"] == result["sidebar_id"] and told["success_criteria"] == "found"
    assert told["sender_agent_id"] == "c3-ada"


async def test_c3_an_absent_participant_is_told_when_it_returns(platform: Platform) -> None:
    ada, bob = await platform.agent("c3-eva"), await platform.agent("c3-fay")
    await bob.close()
    result = await spawned(ada, "c3-fay")
    back = await platform.agent("c3-fay")
    told = [event for event in back.events("sidebar_spawn") if event["sidebar_id"] == result["sidebar_id"]]
    assert len(told) == 1


async def test_c3_a_participant_that_was_never_here_finds_its_sidebar_on_first_arrival(
    platform: Platform,
) -> None:
    ada = await platform.agent("c3-gus")
    await platform.token("c3-new")
    result = await spawned(ada, "c3-new")
    new = await platform.agent("c3-new")
    assert new.welcome["outcome"] == "live_only"
    assert [event["sidebar_id"] for event in new.events("sidebar_spawn")] == [result["sidebar_id"]]


async def test_c3_only_agents_of_the_group_can_be_brought_in(platform: Platform) -> None:
    ada = await platform.agent("c3-hal")
    result = await ada.result(
        "sidebar_spawn", parent_id="main", task_description="x", participants=["no-such-agent"]
    )
    assert (result["status"], result["code"]) == ("failed", "unknown_agent")
    assert "no-such-agent" in result["message"]


async def test_c4_a_child_inherits_by_reference_and_not_what_is_written_later(platform: Platform) -> None:
    ada, bob = await platform.agent("c4-ada"), await platform.agent("c4-bob")
    parent = (await spawned(ada))["sidebar_id"]
    await ada.ask("sidebar_message", sidebar_id=parent, content="before")
    child = await ada.result(
        "sidebar_child_spawn",
        parent_sidebar_id=parent,
        sub_task_description="part",
        assigned_agents=["c4-bob"],
    )
    await ada.ask("sidebar_message", sidebar_id=parent, content="after")
    assert [found["context_id"] for found in child["inherited_context"]] == [parent, "main"]
    answer = await bob.result(
        "query", query="context", params={"context_id": child["sidebar_id"], "inherited": True, "limit": 500}
    )
    inherited = [said.get("content") for said in answer["exchanges"] if said["scope"] == "inherited"]
    assert "before" in inherited and "after" not in inherited


async def test_c5_agents_come_and_go_and_hear_what_is_said_while_they_are_in(platform: Platform) -> None:
    ada, bob, eve = [await platform.agent(f"c5-{name}") for name in ("ada", "bob", "eve")]
    made = (await spawned(ada))["sidebar_id"]
    await ada.ask("sidebar_message", sidebar_id=made, content="one")
    assert (await bob.result("sidebar_join", sidebar_id=made))["status"] == "denied"
    assert (await ada.result("sidebar_invite", sidebar_id=made, agents=["c5-bob"]))["status"] == "success"
    await bob.until("sidebar_invite")
    await ada.ask("sidebar_message", sidebar_id=made, content="two")
    assert (await bob.result("sidebar_leave", sidebar_id=made))["status"] == "success"
    await ada.ask("sidebar_message", sidebar_id=made, content="three")
    for agent in (bob, eve):
        await agent.settled()
    assert [told["content"] for told in bob.events("sidebar_message")] == ["two"]
    assert eve.events("sidebar_message") == []


async def test_c6_a_merge_brings_the_findings_to_the_parent_once(platform: Platform) -> None:
    ada, bob = await platform.agent("c6-ada"), await platform.agent("c6-bob")
    made = (await spawned(ada))["sidebar_id"]
    for _ in range(2):
        result = await ada.result(
            "sidebar_merge", sidebar_id=made, consolidated_findings="three logins", success=True
        )
        assert (result["status"], result["sidebar_id"]) == ("success", made)
    told = await bob.until("sidebar_merge")
    assert told["consolidated_findings"] == "three logins" and told["success"] is True
    await bob.settled()
    assert len(bob.events("sidebar_merge")) == 1
    answer = await bob.result("query", query="context", params={"context_id": "main", "limit": 500})
    assert [said["sidebar_id"] for said in answer["exchanges"] if said["type"] == "sidebar_merge"].count(
        made
    ) == 1


async def test_c6_a_merge_brings_references_and_the_exchanges_it_names(platform: Platform) -> None:
    ada, bob = await platform.agent("c6-dot"), await platform.agent("c6-eli")
    made = (await spawned(ada))["sidebar_id"]
    wanted = await ada.ask("sidebar_message", sidebar_id=made, content="one", data_refs=["auth.log"])
    await ada.ask("sidebar_message", sidebar_id=made, content="two", data_refs=["auth.log", "hosts"])
    noted = {"content": "three", "data_refs": ["users"]}
    await ada.ask("memory_update", context_id=made, exchange=noted)
    own = {"content": "written down while merging", "topic": "logins"}
    result = await ada.result(
        "sidebar_merge",
        sidebar_id=made,
        consolidated_findings="three logins",
        success=False,
        exchanges_to_merge=[wanted["in_reply_to"].upper(), own],
    )
    assert result["status"] == "success"
    told = await bob.find(lambda frame: frame.get("sidebar_id") == made and frame["type"] == "sidebar_merge")
    assert told["data_refs"] == ["auth.log", "hosts", "users"] and told["success"] is False
    (merged,) = told["merged_exchanges"]
    assert (merged["content"], merged["cursor"]) == ("one", wanted["cursor"])
    assert told["exchanges_to_merge"][1]["content"] == own["content"]
    answer = await bob.result("query", query="context", params={"context_id": "main", "limit": 500})
    kept = [said for said in answer["exchanges"] if said.get("sidebar_id") == made]
    assert [(one["data_refs"], one["merged_exchanges"]) for one in kept] == [
        (told["data_refs"], told["merged_exchanges"])
    ]


async def test_c6_open_children_block_a_merge_unless_told_what_becomes_of_them(platform: Platform) -> None:
    ada = await platform.agent("c6-cid")
    parent = (await spawned(ada))["sidebar_id"]
    child = (await spawned(ada, parent_id=parent))["sidebar_id"]
    refused = await ada.result("sidebar_merge", sidebar_id=parent, consolidated_findings="x", success=True)
    assert (refused["status"], refused["code"]) == ("failed", "illegal_transition") and child in refused[
        "message"
    ]
    done = await ada.result(
        "sidebar_merge", sidebar_id=parent, consolidated_findings="x", success=True, open_children="archive"
    )
    assert done["status"] == "success"
    shown = await platform.json("sidebars", "show", child)
    assert shown["status"] == "archived"


async def test_c1_an_illegal_move_is_an_error_that_lists_the_legal_ones(platform: Platform) -> None:
    ada = await platform.agent("c1-ada")
    made = (await spawned(ada))["sidebar_id"]
    await ada.result("sidebar_archive", sidebar_id=made, archive_reason="done")
    refused = await ada.result("sidebar_resume", sidebar_id=made, reason="again")
    assert refused["code"] == "illegal_transition" and "fork" in refused["message"]
    closed = await ada.ask("sidebar_message", sidebar_id=made, content="too late")
    assert closed["code"] == "illegal_transition"


async def test_c7_what_is_archived_stays_readable_and_lives_again_as_a_fork(platform: Platform) -> None:
    ada = await platform.agent("c7-ada")
    made = (await spawned(ada))["sidebar_id"]
    await ada.ask("sidebar_message", sidebar_id=made, content="remember me")
    await ada.result("sidebar_archive", sidebar_id=made, archive_reason="done")
    answer = await ada.result("query", query="context", params={"context_id": made})
    assert "remember me" in [said.get("content") for said in answer["exchanges"]]
    forked = await ada.result("sidebar_fork", original_sidebar_id=made, fork_reason="again")
    answer = await ada.result(
        "query", query="context", params={"context_id": forked["sidebar_id"], "inherited": True}
    )
    assert "remember me" in [said.get("content") for said in answer["exchanges"]]


async def test_c13_two_writers_cannot_both_win(platform: Platform) -> None:
    agents = await asyncio.gather(*(platform.agent(f"c13-{number}") for number in range(5)))
    results = await asyncio.gather(
        *(
            agent.result("sidebar_spawn", parent_id="main", task_description="mine", sidebar_id="c13-one")
            for agent in agents
        )
    )
    assert sorted(result["status"] for result in results) == ["failed"] * 4 + ["success"]
    assert {result["code"] for result in results if result["status"] == "failed"} == {"conflict"}


async def test_c15_who_is_not_in_a_sidebar_neither_hears_nor_reads_it(platform: Platform) -> None:
    ada, eve = await platform.agent("c15-ada"), await platform.agent("c15-eve")
    made = (await spawned(ada))["sidebar_id"]
    await ada.ask("sidebar_message", sidebar_id=made, content="secret")
    await ada.ask("memory_update", context_id=made, exchange={"content": "secret"})
    for query, params in (
        ("context", {"context_id": made}),
        ("sidebar", {"sidebar_id": made}),
    ):
        answer = await eve.result("query", query=query, params=params)
        assert answer["status"] == "denied" and answer["code"] == "forbidden"
    listed = await eve.result("query", query="sidebars", params={})
    assert made not in [found["sidebar_id"] for found in listed["sidebars"]]
    assert (await eve.ask("sidebar_message", sidebar_id=made, content="let me in"))["code"] == "forbidden"
    assert (await eve.ask("memory_update", context_id=made, exchange={"content": "x"}))["code"] == "forbidden"
    await eve.settled()
    assert not [frame for frame in eve.frames if "secret" in str(frame)]
    cursor = eve.welcome["cursor"]
    await eve.close()
    back = await platform.connect(eve.token)
    await back.hello(resume={"cursor": cursor.split(".")[0] + ".0"})
    assert not [frame for frame in back.frames if "secret" in str(frame)]


async def test_c15_access_by_token_opens_a_sidebar_to_read(platform: Platform, tmp_path: Any) -> None:
    ada = await platform.agent("c15-dan")
    made = (await spawned(ada))["sidebar_id"]
    await ada.ask("sidebar_message", sidebar_id=made, content="for the auditor")
    claims = tmp_path / "claims.json"
    claims.write_text(f'{{"sidebar_access": ["{made}"]}}')
    auditor = await platform.connect(await platform.token("c15-auditor", "--claims", str(claims)))
    await auditor.hello()
    answer = await auditor.result("query", query="context", params={"context_id": made})
    assert [said["content"] for said in answer["exchanges"]] == ["for the auditor"]
    assert (await auditor.result("sidebar_join", sidebar_id=made))["status"] == "success"


async def test_the_cli_shows_the_tree_and_the_transcript(platform: Platform) -> None:
    ada = await platform.agent("cli-ada")
    parent = (await spawned(ada, task_description="the whole"))["sidebar_id"]
    child = (await spawned(ada, parent_id=parent, task_description="a part"))["sidebar_id"]
    await ada.ask("sidebar_message", sidebar_id=child, content="a finding")
    code, tree, _ = await platform.run("sidebars", "tree")
    assert code == 0 and tree.index(parent) < tree.index(child)
    code, tail, _ = await platform.run("sidebars", "tail", child)
    assert code == 0 and "a finding" in tail
    code, _, err = await platform.run("sidebars", "show", "nowhere")
    assert code == 3 and err.startswith("error: ")
