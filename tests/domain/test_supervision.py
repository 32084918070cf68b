"""The rules of supervision on paper."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.token import draft
from backchannel.domain.inforce import FREEDOM
from backchannel.domain.settings import Approvals
from backchannel.domain.supervision.conditions import KINDS, enforced, understood
from backchannel.domain.supervision.open import Ask, opened
from backchannel.domain.supervision.policy import Chain, judge
from backchannel.domain.supervision.risk import Risk, assess
from backchannel.domain.supervision.rules import LEVELS, USUAL
from backchannel.domain.supervision.run import WITHIN, Run
from backchannel.errors import BadMessage
from backchannel.protocol.claims import Claims
from tests.build import message

VERBS = ["deny", "ask", "allow"]
TOOLS = ["read_a", "write_b", "run_c", "d"]
tools = st.fixed_dictionaries(
    {
        kind: st.lists(st.sampled_from(TOOLS), unique=True)
        for kind in ("allowed", "restricted", "experimental")
    }
    | {"blocked": st.lists(st.sampled_from(TOOLS), max_size=1)}
)
levels = st.sampled_from(list(FREEDOM))
risks = st.builds(Risk, st.sampled_from(LEVELS), st.just("x"), st.just(("because",)))


def claims(level: str, held: dict[str, Any], **more: Any) -> Claims:
    return draft(
        "ada", now=0, lifetime=60, jti="1", fields={"supervision_level": level, "tools": held, **more}
    )


@given(st.sampled_from(TOOLS), levels, tools, risks)
def test_every_judgement_has_a_reason_and_is_one_of_three(
    tool: str, level: str, held: dict[str, Any], risk: Risk
) -> None:
    found = judge(tool, claims(level, held), risk)
    assert found.verb in VERBS and found.reasons and all(found.reasons)


@given(st.sampled_from(TOOLS), levels, levels, tools, risks)
def test_less_freedom_never_allows_more(
    tool: str, one: str, other: str, held: dict[str, Any], risk: Risk
) -> None:
    less, more = sorted((one, other), key=lambda level: FREEDOM[level])  # type: ignore[index]
    strict, lax = judge(tool, claims(less, held), risk), judge(tool, claims(more, held), risk)
    assert VERBS.index(strict.verb) <= VERBS.index(lax.verb)


@given(st.sampled_from(TOOLS), levels, tools, risks, risks)
def test_more_risk_never_allows_more(
    tool: str, level: str, held: dict[str, Any], one: Risk, other: Risk
) -> None:
    low, high = sorted((one, other), key=lambda risk: risk.rank)
    held_by = claims(level, held)
    assert VERBS.index(judge(tool, held_by, high).verb) <= VERBS.index(judge(tool, held_by, low).verb)


@given(st.sampled_from(TOOLS), levels, tools, risks)
def test_blocked_unknown_and_locked_are_denied_at_every_level(
    tool: str, level: str, held: dict[str, Any], risk: Risk
) -> None:
    named = {*held["allowed"], *held["restricted"], *held["experimental"]}
    verb = judge(tool, claims(level, held), risk).verb
    if tool in held["blocked"] or tool not in named or level == "locked":
        assert verb == "deny"
    else:
        assert verb != "deny"


@given(st.integers(0, 10), st.integers(0, 10))
def test_a_chain_is_no_longer_than_its_token_says(before: int, most: int) -> None:
    held = claims("autonomous", {"allowed": ["d"]}, tool_chains={"max_chain_length": most})
    verb = judge("d", held, assess("d", {}, USUAL), Chain(None, before)).verb
    assert verb == ("deny" if most <= before else "allow")
    assert judge("d", held, assess("d", {}, USUAL)).verb == "allow"
    fresh = judge("d", held, assess("d", {}, USUAL), Chain(None, 0, before)).verb
    too_many = before >= max(most, 2)
    assert fresh == ("deny" if most == 0 else "ask" if too_many else "allow"), "a new id for every call"


@pytest.mark.parametrize(
    ("tool", "params", "level"),
    [
        ("file_read", {"path": "notes.md"}, "low"),
        ("file_write", {"path": "notes.md"}, "medium"),
        ("file_read", {"path": "/etc/passwd"}, "critical"),
        ("file_read", {"path": "/etc"}, "critical"),
        ("file_read", {"path": "//etc//passwd"}, "critical"),
        ("file_read", {"path": "a/../../etc/passwd"}, "critical"),
        ("file_read", {"path": "/srv/../etc/passwd"}, "critical"),
        ("file_read", {"path": "\\etc\\passwd"}, "critical"),
        ("file_read", {"x": {"y": ["/root/.bashrc"]}}, "critical"),
        ("file_read", {"path": "~/.ssh/id_rsa"}, "critical"),
        ("db_query", {"sql": "select 1; DROP  TABLE x"}, "critical"),
        ("web_fetch", {"url": "http://169.254.169.254/latest"}, "critical"),
        ("file_read", {"out": "/etc/cron.d/my job"}, "critical"),
        ("file_read", {"out": "a/../../etc/passwd"}, "critical"),
        ("file_read", {"url": "file:///etc/passwd"}, "critical"),
        ("file_read", {"files": {"/etc/passwd": "x"}}, "critical"),
        ("file_read", {"file_paths": ["../x"]}, "critical"),
        ("file_read", {"text": "an ordinary text, and/or more of it"}, "low"),
        ("file_read", {"hidden": "/etc/passwd", "pad": ["x"] * 1001}, "high"),
        ("file_read", {"force": True}, "high"),
        ("code_execution", {}, "high"),
        ("mystery", {}, "medium"),
    ],
)
def test_what_a_call_reaches_makes_its_risk(tool: str, params: dict[str, Any], level: str) -> None:
    found = assess(tool, params, USUAL)
    assert found.level == level, found.reasons


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=30),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
        max_leaves=10,
    )
)
def test_any_parameters_are_judged_and_never_below_the_tools_own_risk(value: Any) -> None:
    assert assess("file_write", {"x": value}, USUAL).rank >= LEVELS.index("medium")


def test_the_version_of_rules_is_what_they_say() -> None:
    other = USUAL.model_copy(update={"otherwise": "high"})
    assert USUAL.version == USUAL.model_copy().version != other.version


@pytest.mark.parametrize(
    ("said", "kind", "value"),
    [
        ("backup_first: true", "backup_first", True),
        ("backup_first", "backup_first", True),
        ("max_rows: 10", "max_rows", 10),
        ({"path_prefix": "out/"}, "path_prefix", "out/"),
        ({"kind": "dry_run", "value": True}, "dry_run", True),
        ({"kind": "dry_run"}, "dry_run", True),
        ("only on weekdays, please", "note", "only on weekdays, please"),
    ],
)
def test_conditions_are_understood_as_people_say_them(said: Any, kind: str, value: Any) -> None:
    assert understood([said]) == [{"kind": kind, "value": value}]


@pytest.mark.parametrize(
    "said",
    [
        [{"kind": "full_moon"}],
        ["full_moon: true"],
        [{"max_rows": -1}],
        [{"max_rows": "many"}],
        [{"backup_first": "yes"}],
        [{"path_prefix": ""}],
        [7],
        [{}],
        [["backup_first"]],
        ["backup_first"] * 17,
    ],
)
def test_a_condition_nobody_can_keep_is_refused_when_it_is_said(said: list[Any]) -> None:
    with pytest.raises(BadMessage):
        understood(said)


def test_notes_are_for_the_agent_and_everything_else_is_enforced() -> None:
    kinds = {one["kind"] for one in enforced([{"kind": kind, "value": 1} for kind in KINDS])}
    assert kinds == set(KINDS) - {"note"}


@given(st.lists(st.integers(0, 9000), max_size=60).map(sorted))
def test_calls_of_a_chain_that_name_no_run_are_one_run_for_an_hour(seconds: list[int]) -> None:
    content: dict[str, Any] | None = None
    for place, second in enumerate(seconds):
        now = datetime.fromtimestamp(second, UTC)
        run = Run.read("chain.x", False, content, now)
        assert list(run.times) == [one for one in seconds[:place] if second - one < WITHIN]
        content = dict(run.with_one_more(now).content)


def test_calls_of_a_run_that_is_named_count_for_as_long_as_it_is_known() -> None:
    content = {"times": [0.0, 5.0]}
    late = datetime.fromtimestamp(10 * WITHIN, UTC)
    assert len(Run.read("chain.x", True, content, late).times) == 2
    assert not Run.read("chain.x", False, content, late).times


def test_what_is_granted_is_offered_at_once_and_again_by_a_timer() -> None:
    now = datetime.fromtimestamp(1000, UTC)
    bearer = claims("autonomous", {"allowed": ["read_a"]})
    said: Any = message("tool_request", tool="read_a", params={"n": 1})
    risk = assess("read_a", {"n": 1}, USUAL)
    decided = opened(
        Ask(said, "main", bearer, now, Approvals(), lambda grant: f"signed {grant.grant_id}", risk)
    )
    [call], [again] = decided.calls, decided.timers
    assert (call.tool, call.content["params"], call.content["agent_id"]) == ("read_a", {"n": 1}, "ada")
    assert call.content["grant"] == again.about["grant"] == f"signed {again.key}"
    assert again.at is not None and again.at > now
