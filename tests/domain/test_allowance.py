"""What a human allowed for a while covers what is accounted for, and nothing else."""

from __future__ import annotations

import posixpath
import string
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.domain.inforce import InForce
from backchannel.domain.supervision.allowance import Allowance, read_wish, seen_in, why_void
from backchannel.domain.supervision.risk import assess
from backchannel.domain.supervision.rules import LEVELS, USUAL
from backchannel.errors import BadMessage

NOW = datetime.fromtimestamp(1000, UTC)
PREFIX = "/srv/scratch"
SEEN: dict[str, Any] = {"path": "/srv/scratch/a", "mode": "w", "n": 1, "sure": True, "more": ["x", None]}


def made(seen: dict[str, Any], prefix: str | None = PREFIX, **more: Any) -> Allowance:
    """For calls of any risk, so that what decides is the account and nothing else."""
    known = {
        "until": 2000.0,
        "most_rank": len(LEVELS) - 1,
        "path_prefix": prefix,
        "seen": seen,
        "made_at": 900.0,
    }
    return Allowance(
        **{"allowance_id": "1", "agent": "ada", "tool": "file_delete", "by": "hugo", **known, **more}
    )


def covers(rule: Allowance, params: dict[str, Any]) -> bool:
    return rule.covers("ada", "file_delete", params, assess("file_delete", params, USUAL), NOW)


@pytest.mark.parametrize(
    "params",
    [
        SEEN,
        {**SEEN, "path": "/srv/scratch/b"},
        {**SEEN, "path": "/srv/scratch"},
        {**SEEN, "path": "/srv/scratch/b/c d.txt"},
        {**SEEN, "path": "/srv/scratch/./b//c-1_2+x@y.txt"},
        {**SEEN, "path": "/srv/scratch/\u65e5\u672c/caf\u00e9"},
        {**SEEN, "more": ["/srv/scratch/y", None]},
    ],
    ids=str,
)
def test_an_honest_call_below_the_folder_goes_on(params: dict[str, Any]) -> None:
    assert covers(made(SEEN), params)


@pytest.mark.parametrize(
    "path",
    [
        "/srv/scratchy/a",
        "/srv/scratch/../etc/passwd",
        "/srv/scratch/x/../../../etc/passwd",
        "/srv/scratch/a/../b",
        "/srv/scratch/%2e%2e/%2e%2e/etc/passwd",
        "/srv/scratch/%252e%252e/etc",
        "/srv/scratch\\..\\..\\etc",
        "/srv/scratch/\uff0e\uff0e/etc",
        "/srv/scratch/..\uff0fetc",
        "/srv/scratch/.\u200b./etc",
        "/srv/scratch/a\x00/../../etc/passwd",
        "/srv/scratch/a\n/etc/passwd",
        "/srv/scratch/a /etc/passwd",
        "/srv/scratch/a -rf /",
        "/srv/scratch/a ../../etc",
        "/srv/scratch/a;/etc/passwd",
        "/srv/scratch/a:/etc/passwd",
        "/srv/scratch/a,/etc/passwd",
        "/srv/scratch/$(cat /etc/passwd)",
        "/srv/scratch/`id`",
        "/srv/scratch/$HOME",
        "/srv/scratch/{..,x}/etc",
        "/srv/scratch/*",
        "/srv/scratch/?",
        "/srv/scratch/[.][.]/etc",
        "/srv/scratch/~",
        "//srv/scratch/a",
        "file:///srv/scratch/a",
        "FILE:///etc/passwd",
        "'/etc/passwd'",
        " /srv/scratch/a",
        "/srv/scratch/a ",
        "~/a",
        "$HOME/a",
        "%USERPROFILE%\\a",
        "C:\\srv\\scratch\\a",
        "\\\\host\\srv\\scratch",
        "--file=/srv/scratch/a",
        "@/srv/scratch/a",
        "srv/scratch/a",
        "/SRV/scratch/a",
        "",
        "/srv/scratch/" + "a" * 5000,
        '{"path": "/etc/passwd"}',
        '"/srv/scratch/a"',
        "/\u0455rv/scratch/a",
        "/srv/scratch/a\u202e",
        "../../etc",
    ],
)
def test_what_is_no_plain_path_below_the_folder_is_asked_about(path: str) -> None:
    assert not covers(made(SEEN), {**SEEN, "path": path})
    assert not covers(made(SEEN), {**SEEN, "more": [path, None]})


@pytest.mark.parametrize(
    "params",
    [
        {"targets": ["/etc/passwd", *(f"/srv/scratch/{n}" for n in range(1200))], "path": "/srv/scratch/y"},
        {**SEEN, "also": "'/etc/passwd'"},
        {**SEEN, "also": "/srv/scratch/b"},
        {**SEEN, "url": "FILE:///etc/passwd"},
        {**SEEN, "/etc/passwd": True},
        {name: value for name, value in SEEN.items() if name != "sure"},
        {**SEEN, "sure": 1},
        {**SEEN, "sure": False},
        {**SEEN, "n": 1.0},
        {**SEEN, "n": "1"},
        {**SEEN, "n": 2},
        {**SEEN, "n": True},
        {**SEEN, "mode": "W"},
        {**SEEN, "mode": None},
        {**SEEN, "mode": ["w"]},
        {**SEEN, "more": ["x"]},
        {**SEEN, "more": ["x", None, "/srv/scratch/b"]},
        {**SEEN, "more": ["x", "/srv/scratch/b"]},
        {**SEEN, "path": {"path": "/srv/scratch/a"}},
        {**SEEN, "path": ["/srv/scratch/.."], "more": ["x", None]},
        {},
    ],
    ids=lambda params: str(params)[:60],
)
def test_what_nobody_accounts_for_is_asked_about(params: dict[str, Any]) -> None:
    assert not covers(made(SEEN), params)


def test_a_list_of_paths_may_be_as_long_as_one_likes_while_all_of_them_are_below() -> None:
    rule = made({"targets": ["/srv/scratch/a"]})
    assert covers(rule, {"targets": ["/srv/scratch/b", "/srv/scratch/c/d"]})
    assert not covers(rule, {"targets": ["/srv/scratch/b", "/etc/passwd"]})
    assert not covers(rule, {"targets": ["/srv/scratch/..", "etc"]})
    assert not covers(rule, {"targets": ["/srv/scratch/b", 7]})
    assert not covers(rule, {"targets": []}), "which may mean all of them"
    assert not covers(rule, {"targets": [f"/srv/scratch/{n}" for n in range(1200)]}), "more than is looked at"


def test_what_climbs_is_not_kept_as_seen_once_the_folder_it_is_seen_from_has_changed() -> None:
    seen = {"cwd": "/srv/scratch/a/b", "path": "../c"}
    assert covers(made(seen), seen)
    assert not covers(made(seen), {**seen, "cwd": "/srv/scratch"})
    encoded = {"cwd": "/srv/scratch/a/b", "path": "%2e%2e/c"}
    assert not covers(made(encoded), {**encoded, "cwd": "/srv/scratch"})
    named = {"cwd": "/srv/scratch/a/b", "files": {"../c": 1}}
    assert not covers(made(named), {**named, "cwd": "/srv/scratch"})


def test_equal_means_exactly_this_value_and_all_else_as_it_was_seen() -> None:
    rule = made({"table": "a", "rows": 1}, None, equal={"table": "a"})
    assert covers(rule, {"table": "a", "rows": 1})
    for params in (
        {"table": "a", "rows": 2},
        {"table": "b", "rows": 1},
        {"table": "a"},
        {"table": "a", "rows": True},
    ):
        assert not covers(rule, params), params
    both = made({"table": "a", "out": "/srv/scratch/a"}, equal={"table": "b"})
    assert covers(both, {"table": "b", "out": "/srv/scratch/z"})
    assert not covers(both, {"table": "a", "out": "/srv/scratch/z"})


def test_without_a_word_about_the_parameters_a_call_must_at_least_be_understood() -> None:
    rule = made({"path": "/srv/a"}, None)
    assert covers(rule, {"path": "/srv/b"})
    for params in ({"path": "$X/b"}, {"pad": ["x"] * 1001}, {"path": "notes/%ff"}):
        assert not covers(rule, params), params


def test_an_allowance_kept_before_calls_were_kept_beside_it_covers_nothing_narrow() -> None:
    old = Allowance.read(
        {
            "allowance_id": "1",
            "agent": "ada",
            "tool": "file_delete",
            "by": "hugo",
            "until": 2000.0,
            "most_rank": 3,
            "path_prefix": PREFIX,
            "of_tomorrow": 1,
        }
    )
    assert not covers(old, {"path": "/srv/scratch/a"})


@pytest.mark.parametrize(
    "prefix", ["", ".", "..", "/srv/..", "/srv/*", "~", "$HOME", "/srv/%2e", "/srv/\u200b", "C:\\x"]
)
def test_a_folder_that_is_not_plain_is_refused_when_it_is_said(prefix: str) -> None:
    with pytest.raises(BadMessage):
        read_wish({"seconds": 60, "path_prefix": prefix})


def test_a_slip_of_the_pen_does_not_widen_an_allowance() -> None:
    with pytest.raises(BadMessage):
        read_wish({"seconds": 60, "pathprefix": "/srv"})
    with pytest.raises(BadMessage):
        seen_in({"content": "x" * 70_000}, PREFIX, {})
    assert seen_in({"content": "x" * 70_000}, None, {}) is None


def test_an_allowance_ends_with_the_right_of_whoever_made_it() -> None:
    rule = made(SEEN)
    assert why_void(rule, ["hugo"], None) is None
    assert why_void(rule, ["petra"], None) is not None
    assert why_void(made(SEEN, by="operator"), [], None) is None
    for changed in (
        {"barred_until": 950.0},
        {"barred_until": 5000.0},
        {"revoked_before": 901},
        {"level": "locked"},
    ):
        assert why_void(rule, ["hugo"], InForce(by="operator", at="", **changed)) is not None, changed
    for before in ({"barred_until": 899.0}, {"revoked_before": 900}, {"level": "medium"}):
        assert why_void(rule, ["hugo"], InForce(by="operator", at="", **before)) is None, before


PIECES = st.lists(
    st.sampled_from(
        [
            "/srv/scratch",
            "/",
            "..",
            ".",
            "a",
            "etc",
            "passwd",
            "%2e",
            "\\",
            "~",
            "$HOME",
            " ",
            "file:",
            "\x00",
            "*",
            "\uff0f",
            "//",
            "-",
            "=",
            ",",
            ":",
            ";",
            "'",
            "\u200b",
        ]
    ),
    max_size=7,
).map("".join)
VALUES = st.recursive(
    PIECES | st.integers(0, 2) | st.booleans() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["path", "mode", "/etc"]), inner, max_size=2)
    ),
    max_leaves=6,
)


def is_certainly_below(text: str) -> bool:
    """The truth by the definition alone: letters that mean themselves, and below after normpath."""
    itself = set(string.ascii_letters + string.digits + "/._- ")
    return (
        set(text) <= itself
        and posixpath.normpath(text).startswith((PREFIX + "/", PREFIX))
        and (posixpath.normpath(text) + "/").startswith(PREFIX + "/")
    )


def texts_in(value: Any) -> list[str]:
    match value:
        case str():
            return [value]
        case dict():
            return [text for name, part in value.items() for text in (name, *texts_in(part))]
        case list():
            return [text for part in value for text in texts_in(part)]
    return []


@given(
    st.dictionaries(st.sampled_from(["path", "more", "x"]), VALUES, max_size=3),
    st.dictionaries(st.sampled_from(["path", "more", "x"]), VALUES, max_size=3),
)
def test_whatever_is_covered_holds_nothing_but_what_was_seen_and_what_lies_below(
    seen: dict[str, Any], params: dict[str, Any]
) -> None:
    if covers(made(seen), params):
        strangers = set(texts_in(params)) - set(texts_in(seen))
        assert all(map(is_certainly_below, strangers)), strangers
        assert set(params) == set(seen)
        plain = [value for value in params.values() if isinstance(value, bool | int)]
        assert all(any(value is was or value == was for was in seen.values()) for value in plain)


@given(
    st.lists(
        st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=8).filter(
            lambda one: one.strip(".")
        ),
        min_size=1,
        max_size=4,
    )
)
def test_every_plain_path_below_the_folder_is_covered(parts: list[str]) -> None:
    assert covers(made({"path": "/srv/scratch/a"}), {"path": "/".join([PREFIX, *parts])})
