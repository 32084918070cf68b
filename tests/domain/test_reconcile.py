"""What ends an intent whose result was lost: the log's word, and nothing that may still come."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from backchannel.domain.execution import Execution
from backchannel.domain.supervision.reconcile import ending, place_for
from backchannel.domain.trust.evidence import Outcome
from backchannel.domain.trust.standing import Trust

RUN = ("g1", "r1", "main", "ada", "count", "tess", "m1")


def run(state: Any, success: bool | None = None) -> dict[str, Any]:
    return dict(Execution(*RUN, state, 0.0, 1, success).mark().content)


def request(state: str, by: str | None) -> dict[str, Any]:
    texts = ("request_id", "group", "agent", "tool", "digest", "policy", "level", "asked_at")
    more = {"params": {}, "risk": {}, "reasons": [], "ladder": [], "asked": []}
    return dict.fromkeys(texts, "x") | more | {"state": state, "decided_by": by}


NOW = datetime(2030, 1, 1, tzinfo=UTC)
MADE = {"of": "allowance_made:a1", "facts": {"until": "2030-01-01T01:00:00.000Z"}}
LAPSED = {"of": "allowance_made:a1", "facts": {"until": "2029-12-31T23:00:00.000Z"}}
LEVEL = {"to": "low", "decided_by": "hugo", "reason": "careful", "tool_class": "read"}
SET = {"of": "trust:m", "entity": "ada", "at": "2029-12-31T12:00:00.000Z", "facts": LEVEL}
TOLD = {"tool_class": "read", "request_id": "r1", "success": False, "severe": False}
OUTCOME = {"of": "outcome:m", "entity": "ada", "facts": TOLD}


def trust(level: str, by: str, at: str, *outcomes: Outcome) -> dict[str, Any]:
    made = Trust("ada", "read", level, by=by, at=at, reason="careful", outcomes=outcomes)  # type: ignore[arg-type]
    return dict(made.mark().content)


def outcome(success: bool, by: Any) -> dict[str, Any]:
    told = Outcome("r1", 1.0, success, "low", "low", by)
    return trust("low", "hugo", "2029-12-31T12:00:00.000Z", told)


ANSWER = {"of": "answer:hugo:m", "entity": "hugo", "action": "approved", "facts": {"request_id": "r1"}}


@pytest.mark.parametrize(
    ("intent", "mark", "facts"),
    [
        ({"of": "grant:g1"}, run("running"), None),
        ({"of": "grant:g1"}, run("done", True), {"outcome": "done", "success": True}),
        ({"of": "grant:g1"}, run("lost"), {"outcome": "lost", "success": None}),
        ({"of": "request:r1"}, request("pending", None), None),
        ({"of": "request:r1"}, request("denied", None), {"state": "denied"}),
        (ANSWER, request("pending", None), None),
        (ANSWER, request("approved", "hugo"), {"state": "approved"}),
        (ANSWER, request("approved", "hana"), {"state": "not taken", "decided_by": "hana"}),
        ({"of": "request:r1"}, None, None),
        (MADE, {"allowance_id": "a1"}, {"state": "in force"}),
        (MADE, None, None),
        (LAPSED, None, {"state": "not in force"}),
        ({"of": "allowance:a1"}, None, {"state": "not in force"}),
        ({"of": "allowance:a1"}, {"allowance_id": "a1"}, None),
        (SET, None, None),
        (SET, trust("low", "hugo", "2029-12-31T12:00:00.100Z"), {"state": "in force"}),
        (SET, trust("high", "hana", "2029-12-31T11:00:00.000Z"), None),
        (SET, trust("high", "hana", "2029-12-31T13:00:00.000Z"), {"state": "not in force"}),
        (OUTCOME, outcome(False, "human"), {"state": "kept"}),
        (OUTCOME, outcome(True, "human"), {"state": "replaced"}),
        (OUTCOME, outcome(False, "worker"), None),
    ],
)
def test_an_intent_ends_as_the_log_says_and_not_before(
    intent: dict[str, Any], mark: dict[str, Any] | None, facts: dict[str, Any] | None
) -> None:
    found = ending({"facts": {}} | intent, mark, NOW)
    assert (found is None) == (facts is None)
    assert found is None or (found | (facts or {}) == found and found["reconciled"])


def test_only_what_the_log_knows_is_looked_up() -> None:
    assert place_for({"of": "grant:g1", "facts": {}}) == "grant-g1"
    assert place_for({"of": "request:r1", "facts": {}}) == place_for(ANSWER) == "approval.r1"
    assert place_for(MADE) == place_for({"of": "allowance:a1", "facts": {}}) == "allowance.a1"
    assert place_for(SET) == place_for(OUTCOME) == "trust.ada.read"
    assert place_for({"of": "config:x", "facts": {}}) is None
