"""Whom a text calls: the grammar of `@name`, and what it does not take for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.calls import MOST_CALLED, called, resolve, wants_everything
from backchannel.errors import BadMessage, UnknownAgent
from tests.build import message

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True)
PROSE = st.text(alphabet=st.characters(categories=("L", "N", "Z", "P", "S"), exclude_characters="@`~>\\"))


def nobody(_: str) -> tuple[str, ...]:
    return ()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("@bob", ["bob"]),
        ('@bob, can you? (@eve) "@dan" and @bob.', ["bob", "eve", "dan"]),
        ("Look, @infodumptruck!", ["infodumptruck"]),
        ("first line\n    @bob goes on after a long line", ["bob"]),
        ("```\n@bob\n```\n@eve", ["eve"]),
        ("~~~ py\n@bob\n```\n@dan\n~~~\n@eve", ["eve"]),
        ("```\n@bob is in code to the end", []),
        ("use `@bob` or ``@dan ` x`` here, @eve", ["eve"]),
        ("> @bob said\n>> @dan said\n@eve", ["eve"]),
        ("    @bob\n", []),
        ("mail bob@example.org or <a@b>", []),
        ("see https://example.org/@bob/x?u=@dan now", []),
        ("@angular/core, @types/node@1.0 and @scope.name", []),
        ("@property\ndef name(self): ...", []),
        ("@pytest.mark.slow\n@cache\nasync def f(): ...", []),
        ("@app.route('/x')\ndef f(): ...", []),
        ("y.@z; #@q a=@b", []),
        (r"\@bob", []),
        ("@@bob @", []),
        ("@bob's and @eve: yes", ["bob", "eve"]),
    ],
)
def test_only_where_somebody_is_meant(text: str, names: list[str]) -> None:
    assert list(called(text)) == names


@given(PROSE, NAMES, PROSE)
def test_a_name_between_spaces_is_always_found(before: str, name: str, after: str) -> None:
    line = f"{' '.join(before.split())} @{name} {' '.join(after.split())}".strip()
    assert name in called(line) or "://" in before or "www." in before.lower() or "mailto:" in before


@given(st.text())
def test_any_text_is_read_and_yields_names_alone(text: str) -> None:
    for name in called(text):
        assert f"@{name}" in text and name.replace("-", "").replace("_", "").isalnum()


@given(st.text(alphabet=st.characters(exclude_characters="`~")), NAMES)
def test_a_fence_hides_whatever_it_holds(text: str, name: str) -> None:
    assert called(f"```\n{text}\n@{name}\n```") == ()


@given(st.text(alphabet=st.characters(exclude_characters="@")))
def test_a_text_without_the_sign_calls_nobody(text: str) -> None:
    assert called(text) == ()


@given(st.lists(NAMES, unique=True, max_size=MOST_CALLED), st.sets(NAMES))
def test_only_members_see_what_was_said_and_nobody_is_called_twice(
    names: list[str], members: set[str]
) -> None:
    found = resolve(names, "ada", lambda _: True, nobody, members)
    wanted = {name for name in names if name not in ("ada",) and name.lower() != "infodumptruck"}
    assert set(found.inside) == wanted & members and set(found.outside) == wanted - members


def test_a_specialty_calls_everybody_who_has_it_but_the_sender() -> None:
    found = resolve(["tls"], "ada", lambda _: False, lambda _: ["ada", "bob", "eve"], None)
    assert found.inside == ("bob", "eve")


def test_unknown_names_are_named_and_too_many_are_refused() -> None:
    with pytest.raises(UnknownAgent, match="bbo, nobdy"):
        resolve(["bob", "bbo", "nobdy"], "ada", lambda name: name == "bob", nobody, None)
    with pytest.raises(BadMessage):
        resolve(["tls"], "ada", lambda _: False, lambda _: map(str, range(MOST_CALLED + 1)), None)


def test_the_truck_is_called_in_words_and_not_in_code() -> None:
    assert wants_everything(message("sidebar_message", sidebar_id="x", content="@infodumptruck please"))
    assert not wants_everything(message("sidebar_message", sidebar_id="x", content="`@infodumptruck`"))


@pytest.mark.parametrize("piece", ["a", "a.", "`", "` `` ", "@", "@a", "@a ", "> ", "```\n", "www.", "a://"])
def test_the_longest_text_there_may_be_is_read_in_a_moment(piece: str) -> None:
    text = "@x " + piece * (1_000_000 // len(piece))
    assert set(called(text)) <= {"x", "a"}


def test_runs_of_ticks_of_every_length_take_no_longer() -> None:
    text = " ".join("`" * length for length in range(1, 300))
    assert called(f"{text} @x") == ("x",)
