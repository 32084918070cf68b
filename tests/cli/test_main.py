"""What every command promises: help at once, one sentence for an error, the right exit code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from cli import failure, sidebar, token
from cli.group import Noun
from cli.main import NOUNS, root
from tests.cli.console import PROGRAM, Answer, backchannel, environment

Inside = Callable[..., Answer]


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_loads_nothing_it_does_not_need() -> None:
    script = (
        "import sys; from cli.main import run; code = run(['--help']);"
        "heavy = {'nats', 'pydantic', 'rich', 'uvicorn', 'starlette', 'structlog', 'websockets', 'asyncio'};"
        "print(code, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.parametrize("noun", ["status", "sidebars", "streams", "approvals", "explain", "healthcheck"])
def test_commands_that_look_load_neither_the_sdk_nor_the_rules(noun: str) -> None:
    script = (
        f"import sys; from cli.main import run; code = run(['{noun}', '--help']);"
        "heavy = {'pydantic', 'cryptography', 'structlog', 'httpx', 'jwt', 'websockets',"
        " 'backchannel.client', 'backchannel.domain', 'backchannel.service'};"
        "print(code, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"


def test_help_lists_every_noun_with_the_line_it_has_itself() -> None:
    listed = backchannel("--help").out
    for name, noun in NOUNS.items():
        assert f"{name:<11}  {noun.about}" in listed
        assert noun.load().get_short_help_str(100).rstrip(".") == noun.about.rstrip(".")


@pytest.mark.parametrize(("noun", "verbs"), [("sidebars", sidebar.VERBS), ("token", token.VERBS)])
def test_help_of_a_noun_lists_every_verb_with_the_line_it_has_itself(
    noun: str, verbs: dict[str, Noun], inside: Inside
) -> None:
    listed = inside(noun, "--help").out
    for name, verb in verbs.items():
        assert re.search(rf"^  {name} +{re.escape(verb.about)}$", listed, re.MULTILINE)
        said = verb.load().get_short_help_str(200)
        assert verb.load().name == name and said.startswith(verb.about.partition(",")[0].rstrip("."))


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("noun", NOUNS)
def test_every_command_explains_itself(noun: str, flag: str, inside: Inside) -> None:
    answer = inside(noun, flag)
    assert answer.code == 0
    assert answer.out.startswith(f"Usage: backchannel {noun}")
    assert answer.err == ""


def test_the_version_is_told() -> None:
    assert backchannel("--version").out.startswith("backchannel 0.")


@pytest.mark.parametrize(
    ("words", "meant"), [(["statsu"], "status"), (["sidebar"], "sidebars"), (["streams", "veiw"], "view")]
)
def test_a_slip_of_the_pen_is_recognised(words: list[str], meant: str, inside: Inside) -> None:
    answer = inside(*words)
    assert answer.code == 2
    assert f"Did you mean {meant!r}?" in answer.err
    assert "hint: backchannel" in answer.err


@pytest.mark.parametrize(
    "words",
    [
        ["status", "--no-such-flag"],
        ["status", "surplus"],
        ["up", "--port", "many"],
        ["up", "--port", "70000"],
        ["up", "--bridges", "0"],
        ["up", "--groups", "a.b"],
        ["up", "--groups", ""],
        ["up", "--durability", "eternal"],
        ["up", "--nats", "http://somewhere"],
        ["token", "create"],
        ["streams", "view"],
        ["streams", "view", "X", "--limit", "0"],
        ["streams", "view", "X", "--after", "1", "--since", "1h"],
        ["streams", "view", "X", "--subject", "a..b"],
        ["streams", "view", "X", "--subject", "a b"],
        ["streams", "view", "X", "--subject", ">.a"],
        ["streams", "view", "X", "--subject", ""],
        ["audit", "verify", "--key", "zz"],
        ["streams", "ls", "--url", "ws://127.0.0.1:1/ws"],
        ["sidebars", "show", "a.b"],
        ["sidebars", "ls", "--status", "asleep"],
        ["status", "--url", "ws://127.0.0.1:1/ws"],
        ["status", "--timeout", "never"],
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(words: list[str], inside: Inside, cwd: Path) -> None:
    answer = inside(*words)
    assert answer.code == failure.USAGE, answer
    assert answer.out == ""
    assert answer.err.startswith("error: ")
    assert "Traceback" not in answer.err
    assert "\nhint: " in answer.err
    assert list(cwd.iterdir()) == []


@pytest.mark.parametrize(("words", "named"), [([], "doctor"), (["agents"], "kick")])
def test_a_group_without_a_command_names_its_commands(words: list[str], named: str, inside: Inside) -> None:
    answer = inside(*words)
    assert (answer.code, answer.out) == (failure.USAGE, "")
    said, hint = answer.err.splitlines()
    assert "needs a command: " in said and named in said
    assert hint.endswith("--help")


def test_a_result_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    script = f"{PROGRAM} audit --help >/dev/full; echo $?; {PROGRAM} --version >&-; echo $?"
    done = subprocess.run(
        ["sh", "-c", script], env=environment(), capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["1", "0"]
    assert done.stderr.startswith("error: There is no space left")
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize("words", [["--json", "status"], ["status", "--json"]])
def test_an_error_is_json_when_json_was_asked_for_wherever_it_stands(
    words: list[str], tmp_path: Path, inside: Inside
) -> None:
    answer = inside(*words, "--data", tmp_path / "none")
    assert (answer.code, answer.out) == (failure.UNREACHABLE, "")
    error = json.loads(answer.err)["error"]
    assert error["code"] == "unavailable"
    assert error["message"].startswith("No platform runs in")


def test_wrong_usage_is_json_too() -> None:
    assert json.loads(backchannel("--json", "nonsense").err)["error"]["code"] == "usage"


@pytest.mark.parametrize(
    "words",
    [["status"], ["streams", "ls"], ["sidebars", "tree"], ["agents", "ls"], ["sidebars", "tail", "main"]],
)
def test_where_nothing_runs_every_question_ends_with_5_and_makes_no_folder(
    words: list[str], tmp_path: Path, inside: Inside
) -> None:
    answer = inside(*words, "--data", tmp_path / "none")
    assert answer.code == failure.UNREACHABLE
    assert f"backchannel up --data {tmp_path / 'none'}" in answer.err
    assert not (tmp_path / "none").exists()


def test_a_bridge_that_is_not_there_ends_with_5(tmp_path: Path) -> None:
    env = {"BACKCHANNEL_TOKEN": "x.y.z"}
    answer = backchannel("sidebars", "ls", "--url", "ws://127.0.0.1:1/ws", env=env)
    assert answer.code == failure.UNREACHABLE
    assert "Traceback" not in answer.err


def test_settings_come_from_flags_then_environment_then_the_file(tmp_path: Path) -> None:
    def group(*words: str, **env: str) -> str:
        told = backchannel("token", "create", "ada", "--json", *words, env=env, cwd=tmp_path)
        assert told.code == 0, told.err
        return str(told.json["claims"]["collaboration_group"])

    assert group() == "main"
    (tmp_path / "backchannel.toml").write_text('data = "elsewhere"\n[token.create]\ngroup = "filed"\n')
    assert group() == "filed"
    assert group(BACKCHANNEL_GROUP="varied") == "varied"
    assert group("--group", "flagged", BACKCHANNEL_GROUP="varied") == "flagged"
    assert (tmp_path / "elsewhere" / "secrets" / "token.key").is_file()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[up]\nprot = 1\n", "prot in [up]"),
        ("[pu]\nport = 1\n", "[pu]"),
        ("dta = 'x'\n", "dta"),
        ("[token.create]\nttl = '1x'\n", "'1x'"),
        ("[up\n", "cannot be read"),
    ],
)
def test_a_mistake_in_the_settings_file_is_wrong_usage(
    cwd: Path, content: str, told: str, inside: Inside
) -> None:
    (cwd / "backchannel.toml").write_text(content)
    answer = inside("token", "create", "ada")
    assert answer.code == failure.USAGE
    assert told in answer.err


def test_a_settings_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    assert backchannel("--config", tmp_path / "none.toml", "status").code == failure.USAGE


def broken(*words: str) -> str:
    """The program with a fault in it, as a script."""
    return (
        "import sys, cli.main, click\n"
        "def burst(*_, **__): raise ZeroDivisionError('a fault')\n"
        "cli.main.root.add_command(click.Command('burst', callback=burst))\n"
        f"sys.exit(cli.main.run({list(words)!r}))"
    )


@pytest.mark.parametrize("verbose", [False, True])
def test_the_unexpected_is_one_sentence_and_the_traceback_is_kept(tmp_path: Path, verbose: bool) -> None:
    words = ("-v", "burst") if verbose else ("burst",)
    done = subprocess.run(
        [sys.executable, "-c", broken(*words)],
        env=environment(TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == failure.FAILED
    assert "error: Something unexpected happened (ZeroDivisionError: a fault)." in done.stderr
    assert ("Traceback" in done.stderr) is verbose
    kept = [path.read_text() for path in tmp_path.glob("backchannel-*.log")]
    assert [("Traceback" in text) for text in kept] == ([] if verbose else [True])


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{PROGRAM} --help | head -n 1"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("Usage: backchannel [OPTIONS] COMMAND [ARGS]...\n", "")


def test_every_exit_code_of_the_protocol_has_its_errors() -> None:
    from backchannel.errors import BY_CODE

    wanted = {
        "not_found": 3,
        "unknown_agent": 3,
        "forbidden": 4,
        "expired": 4,
        "unavailable": 5,
        "conflict": 6,
        "illegal_transition": 6,
        "bad_message": 2,
    }
    assert {code: failure.exit_code(code) for code in wanted} == wanted
    assert {failure.exit_code(code) for code in BY_CODE} <= set(range(1, 9))


def test_no_option_means_two_things() -> None:
    """The same letter or word is the same wish everywhere."""
    meanings: dict[str, set[str]] = {}

    def walk(command: click.Command) -> None:
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                for flag in parameter.opts:
                    if flag.startswith("--"):
                        meanings.setdefault(flag, set()).add(parameter.type.name)
        for inner in getattr(command, "commands", {}).values():
            walk(inner)

    for noun in NOUNS.values():
        walk(noun.load())
    walk(root)
    assert {flag: kinds for flag, kinds in meanings.items() if len(kinds) > 1} == {}
