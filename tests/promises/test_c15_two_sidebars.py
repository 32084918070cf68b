"""C15: what touches two sidebars takes a right on both, and what is foreign is answered like what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backchannel.protocol.catalog import FROM_CLIENTS, KINDS
from tests.eventually import eventually
from tests.promises.native import Native
from tests.promises.running import Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "SAID-AFTER-REVOCATION"


async def opened(agent: Raw, *others: str, **fields: Any) -> str:
    fields = {"parent_id": "main", "task_description": "look", "participants": list(others), **fields}
    result = await agent.result("sidebar_spawn", **fields)
    assert result["status"] == "success", result
    return str(result["sidebar_id"])


async def waits(agent: Raw, sidebar: str, *others: str, **fields: Any) -> Frame:
    told = {"waiting_for": "other_sidebar", "description": "d", "dependency_refs": list(others), **fields}
    return await agent.result("sidebar_waiting_update", sidebar_id=sidebar, **told)


async def shown(agent: Raw, sidebar: str) -> Frame:
    found: Frame = (await agent.result("query", query="sidebar", params={"sidebar_id": sidebar}))["sidebar"]
    return found


# Waiting for another sidebar


async def test_an_outsider_cannot_have_a_sidebar_waited_for_nor_write_into_its_life(
    platform: Platform,
) -> None:
    ada, eve = await platform.agent("w4-ada"), await platform.agent("w4-eve")
    theirs, mine = await opened(ada), await opened(eve)
    before = await shown(ada, theirs)
    answers = [
        await waits(eve, mine, name, description="SYSTEM NOTICE from the platform", note=SECRET)
        for name in (theirs, "w4-nowhere")
    ]
    assert masked(answers[0], theirs) == masked(answers[1], "w4-nowhere")
    assert answers[0]["code"] == "forbidden"
    assert (await waits(eve, mine, mine, theirs))["code"] == "forbidden"
    await ada.settled()
    assert await shown(ada, theirs) == before
    assert not [frame for frame in ada.frames if SECRET in json.dumps(frame)]
    assert (await shown(eve, mine))["status"] == "active"


async def test_whom_a_sidebar_is_waited_by_is_told_in_the_platforms_words_once_and_in_no_hurry(
    platform: Platform,
) -> None:
    ada, pat = await platform.agent("w4-bob"), await platform.agent("w4-pat")
    above = await opened(pat, "w4-bob")
    theirs = await opened(ada, parent_id=above, priority="critical")
    mine = await opened(pat)
    before = await shown(ada, theirs)
    for _ in range(3):
        told = await waits(pat, mine, theirs, description=SECRET * 1000, note=SECRET)
        assert (told["status"], told["waits_for"]) == ("success", [theirs])
    await ada.settled()
    heard = [frame for frame in ada.events("sidebar_waiting_update") if frame["sidebar_id"] == mine]
    assert len(heard) == 1 and SECRET not in json.dumps(heard) and len(json.dumps(heard)) < 1000
    assert heard[0]["dependency_refs"] == [theirs] and "note" not in heard[0]
    after = await shown(ada, theirs)
    assert after["awaited_by"] == [mine]
    assert {name: value for name, value in after.items() if name not in ("awaited_by", "cursor")} == {
        name: value for name, value in before.items() if name not in ("awaited_by", "cursor")
    }
    log = await platform.json("streams", "view", "BC_EVENTS_main", "--limit", "1000")
    notices = [row for row in log if f".ctx.{theirs}." in row["subject"] and mine in json.dumps(row)]
    assert [row["subject"].split(".")[5] for row in notices] == ["normal"]


async def test_who_may_no_more_look_is_not_told_how_it_ended(platform: Platform) -> None:
    ada, pat = await platform.agent("w4-cid"), await platform.agent("w4-quin")
    above = await opened(ada, "w4-quin")
    theirs, mine = await opened(ada, parent_id=above), await opened(pat)
    assert (await waits(pat, mine, theirs))["status"] == "success"
    await pat.result("sidebar_leave", sidebar_id=above)
    await ada.result("sidebar_archive", sidebar_id=theirs, archive_reason="done")
    await pat.settled()
    assert not [frame for frame in pat.frames if frame.get("awaited_by") == mine]


# Forks


async def test_a_fork_by_who_left_has_what_it_could_hear_and_is_seen(platform: Platform) -> None:
    ada, bob = await platform.agent("w7-ada"), await platform.agent("w7-bob")
    room = await opened(ada, inherit={"depth": 0})
    for text, change in (
        ("before", None),
        ("within", ("sidebar_invite", {"agents": ["w7-bob"]})),
        ("after", "leave"),
        ("within again", "join"),
        (SECRET, "leave"),
    ):
        match change:
            case (kind, fields):
                assert (await ada.result(kind, sidebar_id=room, **fields))["status"] == "success"
            case str():
                assert (await bob.result(f"sidebar_{change}", sidebar_id=room))["status"] == "success"
        assert (await ada.ask("sidebar_message", sidebar_id=room, content=text))["type"] == "accepted"
    fork = await bob.result("sidebar_fork", original_sidebar_id=room, fork_reason="x", participants=[])
    assert fork["status"] == "success", fork
    asked = {"context_id": fork["sidebar_id"], "inherited": True}
    found = await bob.result("query", query="context", params=asked)
    said = [one["content"] for one in found["exchanges"] if "content" in one]
    assert said == ["within", "within again"]
    assert SECRET not in json.dumps([fork, found])
    told = await ada.find(lambda frame: frame["type"] == "sidebar_fork" and "cursor" in frame)
    assert (told["original_sidebar_id"], told["new_sidebar_id"]) == (room, fork["sidebar_id"])
    assert told["sender_agent_id"] == "w7-bob" and told["fork_reason"] != "x"
    assert (await shown(ada, room))["status"] == "active"
    moves = (await ada.result("query", query="history", params={"sidebar_id": room}))["moves"]
    assert moves[-1]["about"] == fork["sidebar_id"]


async def test_what_hangs_on_a_fork_of_a_fork_is_no_more_than_the_first_one_had(platform: Platform) -> None:
    ada, bob = await platform.agent("w7-cid"), await platform.agent("w7-dan")
    room = await opened(ada, "w7-dan")
    await bob.result("sidebar_leave", sidebar_id=room)
    await ada.ask("sidebar_message", sidebar_id=room, content=SECRET)
    first = await bob.result("sidebar_fork", original_sidebar_id=room, fork_reason="x", participants=[])
    second = await bob.result(
        "sidebar_fork", original_sidebar_id=first["sidebar_id"], fork_reason="y", participants=[]
    )
    below = await bob.result("sidebar_spawn", parent_id=second["sidebar_id"], task_description="z")
    for made in (first, second, below):
        asked = {"context_id": made["sidebar_id"], "inherited": True, "limit": 500}
        answer = await bob.result("query", query="context", params=asked)
        assert answer["status"] == "success" and SECRET not in json.dumps([made, answer])


async def test_a_merge_takes_nothing_up_out_of_children_that_its_merger_may_not_read(
    platform: Platform,
) -> None:
    ada, bob, pat = [await platform.agent(f"mg-{name}") for name in ("ada", "bob", "pat")]
    above = await opened(pat, "mg-ada", "mg-bob")
    middle = await opened(ada, "mg-bob", parent_id=above)
    child = await opened(bob, parent_id=middle)
    said = await bob.send("sidebar_message", sidebar_id=child, content=SECRET, data_refs=[f"ref-{SECRET}"])
    await bob.answer_to(said["message_id"])
    merged = await ada.result(
        "sidebar_merge",
        sidebar_id=middle,
        consolidated_findings="f",
        success=True,
        open_children="merge",
        exchanges_to_merge=[said["message_id"]],
    )
    assert merged["status"] == "success", merged
    told = await pat.until("sidebar_merge")
    assert told["sidebar_id"] == middle and SECRET not in json.dumps(told)


# Foreign and absent


FILLED: dict[str, dict[str, Any]] = {
    "sidebar_waiting_update": {"waiting_for": "human_input", "description": "d"},
    "mention_route": {"target_agents": ["or-ada"], "message": "m"},
    "sidebar_invite": {"agents": ["or-ada"]},
}
NAMING = ("sidebar_id", "parent_id", "parent_sidebar_id", "original_sidebar_id", "context_id")
"""Fields by which a client names a sidebar that is there."""
FREE = {"sidebar_spawn": "parent_id", "sidebar_fork": "original_sidebar_id"}
"""Where other fields of these are the platform's, or name the sidebar that is to be made."""
MAKES_KNOWN = {"agent_presence"}
"""What may name any place, and is told of it to nobody outside."""


def naming() -> list[tuple[str, str]]:
    """Every message of the catalogue by which a client names a sidebar, with the field."""
    found = []
    for kind in sorted(FROM_CLIENTS - {"review_requested"}):
        fields = [name for name in NAMING if name in KINDS[kind].model_fields]
        wanted = FREE.get(kind) or (fields[0] if fields else None)
        if wanted is not None and kind not in MAKES_KNOWN:
            found.append((kind, wanted))
    return found


def required(kind: str) -> dict[str, Any]:
    told = KINDS[kind].model_fields
    return {
        name: value for name, value in KINDS[kind].example.items() if told[name].is_required()
    } | FILLED.get(kind, {})


def masked(answer: Frame, name: str) -> dict[str, Any]:
    """An answer without what differs each time."""
    told = json.loads(json.dumps(answer).replace(name, "NAME"))
    for field in ("in_reply_to", "message_id", "timestamp", "cursor", "traceparent", "trace_id"):
        told.pop(field, None)
    return dict(told)


async def test_every_command_of_a_sidebar_is_among_those_that_are_tried() -> None:
    tried = dict(naming())
    sidebars = {kind for kind in FROM_CLIENTS if kind.startswith("sidebar_")}
    assert sidebars <= tried.keys() and {"memory_update", "mention_route"} <= tried.keys()


@pytest.mark.parametrize(("kind", "field"), naming())
async def test_a_foreign_sidebar_is_answered_like_one_that_is_not_there(
    platform: Platform, kind: str, field: str
) -> None:
    ada, eve = await platform.agent("or-ada"), await platform.agent("or-eve")
    room = await opened(ada, sidebar_id=f"or-{kind.replace('_', '-')}")
    absent = f"{room}-0"
    before = await shown(ada, room)
    answers = []
    for name in (room, absent):
        sent = await eve.send(kind, **(required(kind) | {field: name}))
        final = await eve.find(
            lambda frame, asked=sent["message_id"]: (
                frame["type"] in ("result", "error") and frame.get("in_reply_to") == asked
            )
        )
        answers.append(masked(final, name))
    assert answers[0] == answers[1]
    assert answers[0]["code"] == "forbidden"
    assert await shown(ada, room) == before


async def test_it_is_the_same_for_who_speaks_nats_itself(platform: Platform) -> None:
    ada = await platform.agent("or-bob")
    room = await opened(ada, sidebar_id="or-native")
    eve = await Native.enter(platform.nats, "or-fay", platform.signed("or-fay"))
    try:
        for kind, fields in (
            ("sidebar_message", {"content": "let me in"}),
            ("mention_route", {"target_agents": ["or-bob"], "message": "m"}),
            ("sidebar_join", {}),
        ):
            answers = []
            for name in (room, "or-native-0"):
                said = await eve.say(kind, sidebar_id=name, **fields)
                answers.append(masked(await eve.result_of(said["message_id"]), name))
            for answer in answers:
                answer.pop("subject", None)
            assert answers[0] == answers[1] and answers[0]["code"] == "forbidden"
    finally:
        await eve.close()


async def test_an_id_of_a_foreign_sidebar_is_no_conflict_and_the_answer_says_which_one_it_became(
    platform: Platform,
) -> None:
    ada, eve = await platform.agent("id-ada"), await platform.agent("id-eve")
    room = await opened(ada, sidebar_id="id-payroll")
    await ada.ask("sidebar_message", sidebar_id=room, content=SECRET)
    own = await opened(eve, sidebar_id="id-own")
    conflict = await eve.result("sidebar_spawn", parent_id="main", task_description="t", sidebar_id="id-own")
    assert conflict["code"] == "conflict"

    async def tried() -> Frame:
        return await eve.result(
            "sidebar_spawn", parent_id="main", task_description="t", sidebar_id="id-payroll"
        )

    made = await eventually(tried, lambda answer: answer["status"] == "success")
    assert made["sidebar_id"].startswith("id-payroll-") and made["participants"] == ["id-eve"]
    fork = await eve.result(
        "sidebar_fork", original_sidebar_id=own, fork_reason="x", new_sidebar_id="id-payroll"
    )
    child = await eve.result(
        "sidebar_child_spawn",
        parent_sidebar_id=own,
        sub_task_description="x",
        child_sidebar_id="id-payroll",
    )
    for answer in (fork, child):
        assert answer["sidebar_id"].startswith("id-payroll-"), answer
    assert (await shown(ada, room))["participants"] == ["id-ada"]


async def test_the_same_spawn_again_finds_the_id_it_got_instead(platform: Platform) -> None:
    ada, eve = await platform.agent("id-bob"), await platform.agent("id-fay")
    await opened(ada, sidebar_id="id-again")

    async def tried() -> tuple[Frame, Frame]:
        sent = await eve.send("sidebar_spawn", parent_id="main", task_description="t", sidebar_id="id-again")
        return sent, await eve.result_of(sent["message_id"])

    sent, made = await eventually(tried, lambda found: found[1]["status"] == "success")
    await eve.send_raw(sent)
    assert (await eve.answer_to(sent["message_id"]))["type"] == "accepted"
    assert (await eve.answer_to(sent["message_id"]))["type"] == "duplicate_ack"
    listed = (await eve.result("query", query="sidebars", params={}))["sidebars"]
    assert [one["sidebar_id"] for one in listed if "id-again" in one["sidebar_id"]] == [made["sidebar_id"]]


# What everybody may know


async def test_what_status_agents_and_presence_tell_an_agent_of_others(platform: Platform) -> None:
    claims = {"human_supervisor": "k-hugo"}
    ada = await platform.enter(platform.signed("k-ada", **claims))
    bob, eve = await platform.agent("k-bob"), await platform.agent("k-eve")
    room = await opened(ada, "k-bob", sidebar_id="k-payroll")
    said = await ada.ask("agent_presence", status="working", current_context=room)
    assert said["type"] == "accepted"

    def row(answer: Frame, name: str) -> Frame:
        return next(one for one in answer["agents"] if one["agent_id"] == name)

    inside = row(
        await bob.query("agents", lambda answer: row(answer, "k-ada").get("current_context") == room), "k-ada"
    )
    assert inside["active_sidebars"] == 1
    outside = row(await eve.query("agents"), "k-ada")
    assert outside["status"] == "working" and outside["online"] is True
    assert (outside["current_context"], outside["active_sidebars"], outside["links"]) == (None, 0, [])
    assert not {"human_supervisor", "connections", "quality", "first_seen"} & outside.keys()
    own = row(await ada.query("agents"), "k-ada")
    assert own["human_supervisor"] == "k-hugo" and own["links"] and own["current_context"] == room
    operators = next(one for one in await platform.json("agents", "ls") if one["agent_id"] == "k-ada")
    assert operators["links"] and operators["current_context"] == room

    heard = await bob.find(lambda f: f["type"] == "agent_presence" and f.get("current_context") == room)
    assert heard["agent_id"] == "k-ada"
    await eve.settled()
    assert not [frame for frame in eve.frames if room in json.dumps(frame)]

    status = await eve.query("status")
    assert status["sidebars"] == {} and set(status["log"]) == {"cursor"}
    assert status["agents"]["known"] >= 3
    assert (await ada.query("status"))["sidebars"] == {"active": 1}


async def test_a_place_that_one_is_not_in_is_told_to_nobody(platform: Platform) -> None:
    ada, eve = await platform.agent("k-cid"), await platform.agent("k-dan")
    room = await opened(ada)
    before = await shown(ada, room)
    assert (await eve.ask("agent_presence", status="idle", current_context=room))["type"] == "accepted"
    heard = await ada.find(lambda f: f["type"] == "agent_presence" and f["agent_id"] == "k-dan")
    assert heard["current_context"] is None
    await ada.settled()
    assert len([f for f in ada.events("agent_presence") if f["agent_id"] == "k-dan"]) == 1
    assert await shown(ada, room) == before
