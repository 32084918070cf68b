"""Trust: earned slowly, on recent evidence, and lost at once."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.domain.decision import Decision
from backchannel.domain.inforce import FREEDOM
from backchannel.domain.settings import Trusting
from backchannel.domain.trust.decide import Asked, learning, may_settle, settled
from backchannel.domain.trust.evidence import FAILURES, Outcome, lower_bound, weigh
from backchannel.domain.trust.standing import MOST, STEPS, Trust, Turn, learned, lower, place_of, trusted
from backchannel.errors import Forbidden
from backchannel.protocol.claims import Claims, SupervisionLevel
from backchannel.protocol.subject import InInbox
from backchannel.protocol.supervision import TrustNotice, TrustUpdate

USUAL = Trusting()
NOW = datetime(2026, 1, 31, tzinfo=UTC)
START = NOW.timestamp()
levels = st.sampled_from(list(FREEDOM))
risks = st.sampled_from(list(FAILURES))
ASKED = Asked("r1", "main", "ada", "write", "medium", "high", ("hana", "henk"))


def outcome(number: int, success: bool = True, **fields: Any) -> Outcome:
    known = Outcome(f"r{number}", START + number, success, "low", "high")
    return replace(known, **fields)


outcomes = st.lists(
    st.builds(
        Outcome,
        request_id=st.uuids().map(str),
        at=st.floats(START, START + 1e6),
        success=st.booleans(),
        risk=risks,
        level=levels,
        by=st.sampled_from(["worker", "human"]),
        severe=st.booleans(),
    ),
    max_size=40,
)


def after(trust: Trust, *known: Outcome) -> tuple[Trust, list[Turn]]:
    turns = []
    for one in known:
        trust, turn = learned(trust, one, USUAL)
        turns += [turn] if turn else []
    return trust, turns


def claims(level: SupervisionLevel) -> Claims:
    return Claims(sub="ada", entity_id="ada", iat=0, exp=1, jti="j", supervision_level=level)


@given(outcomes, risks, st.booleans())
def test_another_failure_never_raises_what_can_be_claimed(
    known: list[Outcome], risk: str, severe: bool
) -> None:
    failed = outcome(0, False, risk=risk, severe=severe)
    assert weigh([*known, failed]).bound <= weigh(known).bound
    assert weigh([*known, outcome(0)]).bound >= weigh(known).bound


@given(outcomes)
def test_no_more_is_claimed_than_was_seen(known: list[Outcome]) -> None:
    found = weigh(known)
    assert 0 <= found.bound <= found.rate + 1e-9 <= 1 + 1e-9


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 100))
def test_more_of_the_same_evidence_makes_surer(good: int, bad: int, times: int) -> None:
    assert lower_bound(good, good + bad) <= lower_bound(good * times, (good + bad) * times) + 1e-9


@given(outcomes, risks)
def test_a_failure_at_greater_risk_weighs_more(known: list[Outcome], risk: str) -> None:
    lesser = weigh([*known, outcome(0, False, risk="low")])
    assert weigh([*known, outcome(0, False, risk=risk)]).bound <= lesser.bound


@pytest.mark.parametrize("level", STEPS)
def test_the_bare_number_of_uses_is_not_enough(level: SupervisionLevel) -> None:
    """20 of 20 is a rate of 1, and proves no 0.95."""
    trust, turns = after(Trust("ada", "write"), *(outcome(n, level=level) for n in range(STEPS[level].uses)))
    assert turns == [] and trust.recommended is None


@pytest.mark.parametrize(("level", "uses"), [("high", 52), ("medium", 133), ("low", 268)])
def test_a_higher_level_is_recommended_once_when_it_is_proved(level: SupervisionLevel, uses: int) -> None:
    trust, turns = after(Trust("ada", "write"), *(outcome(n, level=level) for n in range(uses - 1)))
    assert turns == []
    trust, turns = after(trust, *(outcome(n, level=level) for n in range(uses, uses + 40)))
    assert [(turn.change, turn.old, turn.new) for turn in turns] == [("recommended", level, STEPS[level].to)]
    assert trust.level is None


@given(outcomes)
def test_nothing_but_a_human_raises_a_level(known: list[Outcome]) -> None:
    trust = Trust("ada", "write", level="medium")
    for one in known:
        before, (trust, turn) = trust, learned(trust, one, USUAL)
        assert trust.level is not None and before.level is not None
        assert FREEDOM[trust.level] <= FREEDOM[before.level]
        assert turn is None or turn.change == "recommended" or not one.success


@given(levels, st.sampled_from(["high", "critical"]))
def test_a_severe_failure_lowers_the_level_at_once(level: SupervisionLevel, risk: str) -> None:
    trust, turns = after(Trust("ada", "write"), outcome(1, False, level=level, risk=risk))
    assert len(turns) == 1 and trust.level is not None
    if FREEDOM[level] > FREEDOM["high"]:
        assert turns[0].change == "lowered" and FREEDOM[trust.level] < FREEDOM[level]
    else:
        assert turns[0].change == "kept" and trust.level == level


def test_how_far_it_falls() -> None:
    assert [lower(level, False) for level in FREEDOM] == ["locked", "high", "high", "medium", "low"]
    assert [lower(level, True) for level in FREEDOM] == ["locked", "high", "high", "high", "high"]


def test_two_severe_failures_of_one_level_cost_one_step() -> None:
    failed = [outcome(n, False, level="autonomous", risk="high") for n in (1, 2)]
    trust, _ = after(Trust("ada", "write"), *failed)
    assert trust.level == "low"


def test_after_a_fall_everything_is_earned_anew() -> None:
    good = [outcome(n, level="medium") for n in range(132)]
    trust, turns = after(Trust("ada", "write"), *good, outcome(200, False, level="medium", risk="high"))
    assert [turn.change for turn in turns] == ["lowered"]
    trust, turns = after(trust, *(outcome(n, level="high") for n in range(201, 252)))
    assert turns == []


def test_a_long_good_past_does_not_hide_what_is_new() -> None:
    """The seed's own rules recommended autonomy after ten failures in a row."""
    good = [outcome(n, level="low") for n in range(260)]
    bad = [outcome(1000 + n, False, level="low") for n in range(10)]
    _, turns = after(
        Trust("ada", "write"), *good, *bad, *(outcome(2000 + n, level="low") for n in range(100))
    )
    assert turns == []


def test_what_is_too_old_counts_no_more() -> None:
    good = [outcome(n) for n in range(51)]
    late = outcome(9, request_id="late", at=START + USUAL.recent + 10_000)
    _, turns = after(Trust("ada", "write"), *good, late)
    assert turns == []


def test_an_outcome_counts_once_and_a_humans_word_replaces_a_workers() -> None:
    trust, _ = after(Trust("ada", "write"), *[outcome(1)] * 60)
    assert len(trust.outcomes) == 1
    trust, turns = after(trust, outcome(1, False, by="human", severe=True, level="low"))
    assert (len(trust.outcomes), [turn.change for turn in turns]) == (1, ["lowered"])
    again, _ = after(trust, outcome(1))
    assert again == trust


def test_what_is_remembered_is_bounded_and_survives_the_log() -> None:
    trust, _ = after(Trust("ada", "write"), *(outcome(n, n % 7 != 0) for n in range(MOST + 20)))
    assert len(trust.outcomes) == MOST
    assert len(str(trust.mark().content)) < 64_000
    assert Trust.read(json.loads(json.dumps(trust.mark().content)), "ada", "write") == trust


@given(levels, st.none() | levels, levels)
def test_trust_only_narrows_what_the_token_says(
    token: SupervisionLevel, level: SupervisionLevel | None, begins: SupervisionLevel
) -> None:
    held = trusted(claims(token), Trust("ada", "write", level=level), Trusting(begins_at=begins))
    assert FREEDOM[held.supervision_level] == min(FREEDOM[token], FREEDOM[level or begins])


@given(st.text(min_size=1, max_size=40))
def test_any_class_has_a_place_in_the_log(name: str) -> None:
    family, agent, last = place_of("ada", name).split(".")
    assert (family, agent) == ("trust", "ada") and last.replace("-", "").replace("_", "").isalnum()


def test_a_lost_level_is_in_the_same_decision_as_its_cause_and_announced_to_the_trail() -> None:
    asked = replace(ASKED, risk="high", level="low")
    trust = Trust("ada", "write")
    made = asked.outcome(False, NOW, "worker")
    found = learning(Decision(), asked, trust, made, USUAL, UUID(int=1), NOW)
    assert [mark.content["level"] for mark in found.marks] == ["medium"]
    assert [(deed.phase, deed.action) for deed in found.deeds] == [
        ("intent", "trust_lowered"),
        ("result", "trust_lowered"),
    ]
    (told,) = found.events
    assert told.to == InInbox("hana", "notice") and isinstance(told.message, TrustNotice)
    assert (told.message.level, told.message.new_level) == ("low", "medium")


def test_the_agents_own_supervisor_and_nobody_else_settles_a_level() -> None:
    assert may_settle("operator", "operator", "ada", frozenset())
    assert may_settle("hana", "human", "ada", frozenset({"ada"}))
    assert not may_settle("hana", "human", "ada", frozenset({"bob"}))
    for kind in ("agent", "service"):
        assert not may_settle("hana", kind, "ada", frozenset({"ada"}))
    update = TrustUpdate(
        message_id=UUID(int=2), timestamp=NOW, agent_id="ada", tool_class="write", level="low", reason="x"
    )
    found = settled(Trust("ada", "write", recommended="low"), update, "hana", "main", NOW)
    (mark,) = found.marks
    assert (mark.content["level"], mark.content["recommended"], mark.content["by"]) == ("low", None, "hana")
    assert [deed.phase for deed in found.deeds] == ["intent", "result"]
    with pytest.raises(Forbidden):
        settled(Trust("ada", "write"), update, "ada", "main", NOW)
