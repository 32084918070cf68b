"""`backchannel sidebars`: what an operator does with them, and how it is answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from backchannel.client import Agent, SidebarMessage, SidebarPause
from backchannel.delivery.cursor import Cursor
from backchannel.errors import IllegalTransition
from tests.cli.console import Answer, Up

WAIT = 60.0


@pytest.fixture(scope="module")
def people(platform: Up) -> None:
    for name in ("ada", "bob", "cora"):
        assert platform.run("token", "create", name).code == 0


@pytest.fixture
def verb(platform: Up, people: None, inside: Callable[..., Answer]) -> Callable[..., Answer]:
    """`verb("pause", …)`: one verb of `sidebars` about the running platform."""
    return lambda *words: inside("sidebars", *words, "--data", platform.data, "--timeout", "60s")


def opened(verb: Callable[..., Answer], *words: str) -> str:
    answer = verb("spawn", "Find out.", "--with", "ada,bob", *words)
    assert answer.code == 0, answer.err
    return answer.out.strip()


def shown(verb: Callable[..., Answer], sidebar_id: str, *words: str) -> Any:
    return verb("show", sidebar_id, "--json", *words).json


def test_spawn_prints_the_id_alone_and_says_who_is_in(verb: Callable[..., Answer]) -> None:
    answer = verb(
        *("spawn", "Find out.", "--with", "ada,bob", "--priority", "high"),
        *("--criteria", "It is known.", "--coordinator", "cora", "--id", "made-here"),
    )
    assert (answer.code, answer.out) == (0, "made-here\n")
    assert "cora, ada, bob" in answer.err
    found = shown(verb, "made-here")
    assert found["participants"] == ["cora", "ada", "bob"]
    assert (found["created_by"], found["priority"], found["success_criteria"], found["coordinator"]) == (
        "operator",
        "high",
        "It is known.",
        "cora",
    )


def test_a_child_is_spawned_under_its_parent_with_its_priority(verb: Callable[..., Answer]) -> None:
    parent = opened(verb, "--priority", "low")
    child = verb("spawn", "A part.", "--with", "bob", "--parent", parent, "--json").json
    assert [stretch["context_id"] for stretch in child["inherited_context"]] == [parent, "main"]
    found = shown(verb, child["sidebar_id"])
    assert (found["parent_id"], found["priority"]) == (parent, "low")


def test_a_life_from_the_command_line_is_told_by_its_history(
    verb: Callable[..., Answer], tmp_path: Path
) -> None:
    made = opened(verb)
    assert verb("pause", made, "--reason", "Night.", "--until", "Morning.").out == f"{made} is paused\n"
    assert shown(verb, made)["resume_condition"] == "Morning."
    assert verb("resume", made, "--reason", "Morning.").out == f"{made} is active\n"
    findings = tmp_path / "findings.json"
    findings.write_text('{"address": "203.0.113.7"}')
    assert verb("merge", made, "--findings", findings, "--failed").out == f"{made} is merged\n"
    found = shown(verb, made)
    assert found["ending"]["findings"] == {"address": "203.0.113.7"}
    assert (found["ending"]["success"], found["ending"]["by"]) == (False, "operator")
    moves = verb("history", made, "--json").json
    assert [(move["by"], move["before"], move["after"], move["why"]) for move in moves] == [
        ("operator", None, "active", "Find out."),
        ("operator", "active", "paused", "Night."),
        ("operator", "paused", "active", "Morning."),
        ("operator", "active", "merged", '{"address": "203.0.113.7"}'),
    ]
    assert moves[0]["joined"] == ["ada", "bob"]
    table = verb("history", made).out
    assert "pause: active → paused" in table and "spawn: active +ada +bob" in table
    assert [move["type"] for move in verb("history", made, "--json", "--until", moves[1]["cursor"]).json] == [
        "sidebar_spawn",
        "sidebar_pause",
    ]
    assert shown(verb, made, "--until", moves[1]["cursor"])["status"] == "paused"


def test_a_merge_again_says_so_and_open_children_are_treated_as_asked(verb: Callable[..., Answer]) -> None:
    parent = opened(verb)
    child = opened(verb, "--parent", parent)
    refused = verb("merge", parent, "--text", "Found.")
    assert refused.code == 6 and child in refused.err
    assert verb("merge", parent, "--text", "Found.", "--open-children", "archive").code == 0
    assert shown(verb, child)["status"] == "archived"
    again = verb("merge", parent, "--text", "Other.")
    assert (again.code, again.out) == (0, f"{parent} is merged already\n")
    assert shown(verb, parent)["ending"]["findings"] == "Found."


def test_a_fork_of_an_archived_sidebar_has_its_people_and_its_past(verb: Callable[..., Answer]) -> None:
    made = opened(verb)
    assert verb("post", made, "Remember me.").code == 0
    assert verb("archive", made, "--reason", "Nothing there.").out == f"{made} is archived\n"
    forked = verb("fork", made, "--reason", "There is.", "--json").json
    assert forked["forked_from"] == made and forked["participants"] == ["ada", "bob"]
    assert forked["exchanges"][0]["content"] == "Remember me."
    alone = verb("fork", made, "--reason", "For cora.", "--with", "cora", "--id", "for-cora")
    assert alone.out == "for-cora\n" and shown(verb, "for-cora")["participants"] == ["cora"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("pause", "nowhere", "--reason", "x"), 3),
        (("post", "nowhere", "x"), 3),
        (("history", "nowhere"), 3),
        (("fork", "nowhere", "--reason", "x"), 3),
        (("spawn", "x", "--with", "nobody"), 3),
        (("spawn", "x", "--with", "ada", "--parent", "nowhere"), 3),
        (("spawn", "x", "--specialty", "astrology"), 3),
        (("spawn", "x"), 2),
        (("spawn", "x", "--with", "ada", "--priority", "urgent"), 2),
        (("pause", "nowhere"), 2),
        (("merge", "nowhere"), 2),
        (("merge", "nowhere", "--text", "a", "--findings", "-"), 2),
        (("pause", "no.where", "--reason", "x"), 2),
    ],
)
def test_what_cannot_be_ends_with_its_code_and_a_sentence(
    verb: Callable[..., Answer], words: tuple[str, ...], code: int
) -> None:
    answer = verb(*words)
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.startswith("error: ")


def test_an_illegal_move_and_an_id_in_use_are_conflicts(verb: Callable[..., Answer]) -> None:
    made = opened(verb)
    verb("archive", made, "--reason", "done")
    for words in (
        ("resume", made, "--reason", "again"),
        ("post", made, "too late"),
        ("merge", made, "--text", "x"),
        ("spawn", "x", "--with", "ada", "--id", made),
    ):
        answer = verb(*words, "--json")
        assert answer.code == 6, words
        assert json.loads(answer.err)["error"]["code"] in ("illegal_transition", "conflict")


def test_findings_that_are_not_the_json_their_name_says_are_wrong_usage(
    verb: Callable[..., Answer], tmp_path: Path
) -> None:
    made = opened(verb)
    findings = tmp_path / "findings.json"
    findings.write_text("{not json")
    answer = verb("merge", made, "--findings", findings)
    assert answer.code == 2 and "findings.json" in answer.err
    plain = tmp_path / "findings.txt"
    plain.write_text("{not json")
    assert verb("merge", made, "--findings", plain).code == 0
    assert shown(verb, made)["ending"]["findings"] == "{not json"


def test_a_bridge_is_no_way_in_for_the_operator(inside: Callable[..., Answer]) -> None:
    answer = inside("sidebars", "pause", "x", "--reason", "x", "--url", "ws://127.0.0.1:9/ws")
    assert answer.code == 2 and "--data" in answer.err


async def test_participants_hear_the_operator_as_operator(platform: Up, people: None) -> None:
    async with (
        Agent.connect("dora", data=platform.data, patience=30, timeout=WAIT) as dora,
        dora.sidebar("Find out.") as room,
    ):
        for words in (("post", room.id, "Try the backup."), ("pause", room.id, "--reason", "Night.")):
            answer = await asyncio.to_thread(platform.run, "sidebars", *words)
            assert answer.code == 0, answer.err
        async with asyncio.timeout(WAIT):
            heard = room.messages()
            said, paused = [await anext(heard) for _ in range(2)]
        assert isinstance(said, SidebarMessage) and isinstance(paused, SidebarPause)
        assert (said.sender_agent_id, said.content) == ("operator", "Try the backup.")
        assert (paused.by, paused.reason, paused.members) == ("operator", "Night.", ["dora"])
        with pytest.raises(IllegalTransition):
            await room.pause("Also night.")


def test_operators_who_decide_at_once_cannot_both_win_and_nothing_is_said_after_the_end(
    platform: Up, people: None
) -> None:
    made = platform.run("sidebars", "spawn", "Find out.", "--with", "ada").out.strip()
    words = [("archive", made, "--reason", f"number {number}") for number in range(2)]
    words += [("merge", made, "--text", f"number {number}") for number in range(2)]
    words += [("post", made, f"number {number}") for number in range(4)]
    with ThreadPoolExecutor(len(words)) as pool:
        answers = list(pool.map(lambda each: platform.run("sidebars", *each, "--timeout", "60s"), words))
    assert {answer.code for answer in answers} <= {0, 6}
    moves = platform.run("sidebars", "history", made, "--json").json
    ends = [move["after"] for move in moves if move["after"] in ("merged", "archived")]
    assert ends in (["archived"], ["merged"], ["merged", "archived"])
    [end, *_] = [position(move) for move in moves if move["after"] in ("merged", "archived")]
    said = platform.run("sidebars", "tail", made, "--json").json
    posted = [position(words) for words in said if words["type"] == "sidebar_message"]
    assert len(posted) == sum(answer.code == 0 for answer in answers[4:])
    assert all(place < end for place in posted)


def position(told: dict[str, Any]) -> int:
    return Cursor.parse(told["cursor"]).sequence
