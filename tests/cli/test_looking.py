"""`status`, `streams`, `sidebars`, `agents`: what two agents did is there to see, for people and programs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from backchannel.client import Agent
from tests.cli.console import PROGRAM, Answer, Up, environment
from tests.cli.test_up import eventually

Look = Callable[..., Answer]
NASTY = "colour \x1b[31mred\x1b[0m,\na new line, a bell \x07 and 漢字"


async def converse(data: Path) -> None:
    """Two agents, a sidebar with a child, a mention, a memory, and words that a terminal must not obey."""
    async with Agent.connect("ada", data=data) as ada, Agent.connect("bob", data=data):
        room = await ada.sidebar("Find out who logged in at night", with_=["bob"], sidebar_id="logins")
        await room.say("Three came from one address.")
        await room.say(NASTY)
        await ada.mention("bob", "Can you look at this?")
        await ada.remember("The door was open.", topic="doors")
        child = await room.child("List the addresses", with_=["bob"], sidebar_id="addresses")
        await child.merge("There were three.", success=True)


@pytest.fixture(scope="module")
def talked(platform: Up) -> Iterator[Up]:
    asyncio.run(asyncio.wait_for(converse(platform.data), 60))
    yield platform


@pytest.fixture
def look(talked: Up, inside: Look) -> Look:
    """`look(*words)` runs a command about this platform, in this process: there are many."""
    return lambda *words: inside(*words, "--data", talked.data)


def test_status_tells_people_and_programs_how_things_are(talked: Up, look: Look) -> None:
    told = look("status", "--json")
    assert told.code == 0
    assert told.json["status"] == "healthy"
    assert told.json["platform"]["ws"] == talked.ready[0]
    main, night = told.json["groups"]
    assert main["agents"]["known"] == 2
    assert main["sidebars"]
    assert night["sidebars"] == {}
    shown = look("status").out
    assert "● healthy" in shown
    assert "GROUP     night" in shown


def test_a_frozen_part_is_exit_code_7_and_the_rest_is_told(start: Callable[..., Up]) -> None:
    up = start()
    assert up.ready
    handlers = up.children()["handlers"]
    os.kill(handlers, signal.SIGSTOP)
    try:
        for _ in range(20):  # the bridge finds out in its own time
            told = up.run("status", "--json", "--timeout", "2s")
            if told.code:
                break
    finally:
        os.kill(handlers, signal.SIGCONT)
    assert (told.code, told.json["groups"]) == (7, [])
    assert told.json["status"] != "healthy"
    assert told.err.startswith("note: ")


def test_status_is_told_over_the_bridge_too(talked: Up, look: Look, tmp_path: Path) -> None:
    token = look("token", "create", "watcher").out.strip()
    (tmp_path / "token").write_text(token)
    words = ("status", "--url", talked.ready[0], "--token-file", str(tmp_path / "token"), "--json")
    told = look(*words)
    assert told.code == 0, told.err
    assert told.json["groups"][0]["group"] == "main"


def test_a_token_that_is_not_ours_is_refused_with_4(talked: Up, look: Look, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("eyJhbGciOiJIUzI1NiJ9.e30.AAAA")
    words = ("sidebars", "ls", "--url", talked.ready[0], "--token-file", str(tmp_path / "token"))
    answer = look(*words)
    assert (answer.code, answer.out) == (4, "")
    assert "Traceback" not in answer.err


def test_over_the_bridge_one_sees_what_the_token_may_see(talked: Up, look: Look, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(look("token", "create", "bob").out)
    through = ("--url", talked.ready[1], "--token-file", str(tmp_path / "token"), "--json")
    assert {found["sidebar_id"] for found in look("sidebars", "ls", *through).json} == {
        "logins",
        "addresses",
    }
    (tmp_path / "token").write_text(look("token", "create", "stranger").out)
    assert look("sidebars", "ls", *through).json == []
    assert look("sidebars", "show", "logins", *through).code in (3, 4)


def test_agents_are_listed(look: Look) -> None:
    told = {agent["agent_id"]: agent for agent in look("agents", "ls", "--json").json}
    assert {"ada", "bob"} <= set(told)
    assert told["ada"]["entity_type"] == "agent"
    eventually(lambda: look("agents", "ls", "--online", "--json").json == [])


def test_sidebars_are_listed_shown_and_filtered(look: Look) -> None:
    listed = {found["sidebar_id"]: found for found in look("sidebars", "ls", "--json").json}
    assert set(listed) == {"logins", "addresses"}
    assert listed["addresses"]["parent_id"] == "logins"
    assert listed["addresses"]["status"] == "merged"
    assert [x["sidebar_id"] for x in look("sidebars", "ls", "--status", "merged", "--json").json] == [
        "addresses"
    ]
    assert look("sidebars", "ls", "--agent", "nobody", "--json").json == []
    shown = look("sidebars", "show", "logins", "--json").json
    assert shown["participants"] == ["ada", "bob"]
    assert "Find out who logged in at night" in look("sidebars", "show", "logins").out
    assert look("sidebars", "show", "logins", "--group", "night").code == 3


def test_the_tree_is_drawn_with_children_below_their_parents(look: Look) -> None:
    lines = look("sidebars", "tree").out.splitlines()
    assert lines[0] == "main"
    assert lines[1].startswith("└─ logins  ")
    assert lines[2].startswith("   └─ addresses  merged  ")
    below = look("sidebars", "tree", "logins").out.splitlines()
    assert [line.split("  ")[0] for line in below] == ["logins", "└─ addresses"]
    told = look("sidebars", "tree", "--json").json
    assert told["children"][0]["children"][0]["sidebar_id"] == "addresses"
    assert look("sidebars", "tree", "nothing").code == 3


def test_the_transcript_is_in_order_and_obeys_nobody(look: Look) -> None:
    told = look("sidebars", "tail", "logins", "--json").json
    said = [exchange["content"] for exchange in told if exchange["type"] == "sidebar_message"]
    assert said == ["Three came from one address.", NASTY]
    shown = look("sidebars", "tail", "logins").out
    assert shown.index("Three came") < shown.index("colour")
    assert all(letter.isprintable() or letter == "\n" for letter in shown)
    assert "漢字" in shown
    last = look("sidebars", "tail", "logins", "--limit", "1", "--json").json
    assert last == told[-1:]
    assert "The door was open." in look("sidebars", "tail", "main").out
    assert look("sidebars", "tail", "nothing").code == 3


def test_streams_are_listed_with_what_they_hold(look: Look) -> None:
    listed = {found["name"]: found for found in look("streams", "ls", "--json").json}
    assert set(listed) == {"BC_AUDIT", "BC_COMMANDS", "BC_DEAD", "BC_EVENTS_main", "BC_EVENTS_night"}
    assert listed["BC_EVENTS_main"]["messages"] > 5
    everything = {found["name"] for found in look("streams", "ls", "--all", "--json").json}
    assert "KV_BC_agents" in everything
    info = look("streams", "info", "BC_EVENTS_main", "--json").json
    assert info["config"]["allow_atomic"] is True
    assert len(info["epoch"]) == 8


@pytest.mark.parametrize("name", ["NOTHING", "BC_EVENTS_nowhere"])
def test_a_stream_that_is_not_there_is_not_found(look: Look, name: str) -> None:
    for verb in ("view", "info"):
        answer = look("streams", verb, name)
        assert (answer.code, answer.out) == (3, "")
        assert f"There is no stream {name};" in answer.err


@pytest.mark.parametrize("words", [["agents", "ls"], ["status"], ["sidebars", "post", "logins", "hello"]])
def test_a_group_that_nobody_serves_is_not_found(words: list[str], look: Look) -> None:
    answer = look(*words, "--group", "elsewhere")
    assert answer.code == 3
    assert "there are main, night" in answer.err


def test_who_is_not_known_cannot_be_sent_away(look: Look) -> None:
    answer = look("agents", "kick", "nobody")
    assert (answer.code, "Nobody here is called nobody." in answer.err) == (3, True)


@pytest.mark.parametrize("name", ["a.b", "*", ">", "a b", ""])
def test_a_name_that_no_stream_can_have_is_wrong_usage(look: Look, name: str) -> None:
    assert look("streams", "view", name).code == 2


def test_a_stream_is_viewed_from_its_end_from_a_position_from_a_time_and_by_subject(look: Look) -> None:
    def view(*words: str) -> list[int]:
        """Of what was said: timers and news of who has gone come in their own time."""
        which = words if "--subject" in words else ("--subject", "bc.main.evt.ctx.>", *words)
        rows = look("streams", "view", "BC_EVENTS_main", *which, "--json").json
        return [row["sequence"] for row in rows]

    everything = view("--limit", "1000")
    assert everything == sorted(set(everything))
    assert view("--limit", "2") == everything[-2:]
    assert view("--after", str(everything[2]), "--limit", "2") == everything[3:5]
    assert view("--after", str(everything[-1])) == []
    assert view("--since", "1h", "--limit", "1000") == everything
    talk = view("--subject", "bc.main.evt.ctx.logins.*.talk")
    assert len(talk) == 2 and set(talk) < set(everything)
    assert view("--subject", "bc.main.evt.ctx.logins.*.talk", "--limit", "1") == talk[-1:]


def test_a_row_tells_who_said_what_when(look: Look) -> None:
    words = ("--subject", "bc.main.evt.inbox.bob.*.mention", "--json")
    (row,) = look("streams", "view", "BC_EVENTS_main", *words).json
    assert (row["type"], row["sender"]) == ("mention_route", "ada")
    assert row["content"] == "@bob Can you look at this?"
    assert row["message"]["target_agents"] == ["bob"]
    assert datetime.fromisoformat(row["time"]).tzinfo is not None
    shown = look("streams", "view", "BC_EVENTS_main").out
    assert shown.splitlines()[0].split() == ["TIME", "SEQUENCE", "SUBJECT", "TYPE", "SENDER", "CONTENT"]
    assert "\x1b" not in shown and "\x07" not in shown


def test_nothing_to_see_is_an_empty_list_and_not_an_error(look: Look) -> None:
    words = ("streams", "view", "BC_EVENTS_night", "--subject", "bc.night.evt.>")
    assert look(*words, "--json") == Answer(0, "[]\n", "")
    quiet = look(*words)
    assert (quiet.code, quiet.out) == (0, "")
    assert "nothing to see" in quiet.err


@pytest.mark.parametrize(
    "words",
    [
        ("streams", "view", "BC_EVENTS_night", "-f", "--json"),
        ("sidebars", "tail", "main", "--group", "night", "-f", "--json"),
    ],
)
def test_following_goes_on_with_what_comes_until_it_is_interrupted(
    talked: Up, look: Look, words: tuple[str, ...]
) -> None:
    token = look("token", "create", "nora", "--group", "night").out.strip()
    with subprocess.Popen(
        [PROGRAM, *words, "--data", str(talked.data)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stdout is not None
            for word in ("one", "two"):
                asyncio.run(asyncio.wait_for(remember(talked.ready[0], token, word), 60))
                found: dict[str, object] = {}
                while word not in json.dumps(found):
                    found = json.loads(child.stdout.readline())
            child.send_signal(2)
            assert child.wait(60) == 130
            assert child.stderr is not None and "Traceback" not in child.stderr.read()
        finally:
            child.kill()


async def remember(url: str, token: str, words: str) -> None:
    async with Agent.connect("nora", url=url, token=token) as nora:
        await nora.remember(words)


def test_streams_that_are_right_are_left_alone(look: Look) -> None:
    answer = look("streams", "apply", "--json")
    assert answer == Answer(0, "[]\n", "")
