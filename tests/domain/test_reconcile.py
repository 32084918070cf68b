"""What ends an intent whose result was lost: the log's word, and nothing that may still come."""

from __future__ import annotations

from typing import Any

import pytest

from backchannel.domain.execution import Execution
from backchannel.domain.supervision.reconcile import ending, place_for

RUN = ("g1", "r1", "main", "ada", "count", "tess", "m1")


def run(state: Any, success: bool | None = None) -> dict[str, Any]:
    return dict(Execution(*RUN, state, 0.0, 1, success).mark().content)


def request(state: str, by: str | None) -> dict[str, Any]:
    texts = ("request_id", "group", "agent", "tool", "digest", "policy", "level", "asked_at")
    more = {"params": {}, "risk": {}, "reasons": [], "ladder": [], "asked": []}
    return dict.fromkeys(texts, "x") | more | {"state": state, "decided_by": by}


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
    ],
)
def test_an_intent_ends_as_the_log_says_and_not_before(
    intent: dict[str, Any], mark: dict[str, Any], facts: dict[str, Any] | None
) -> None:
    found = ending({"facts": {}} | intent, mark)
    assert (found is None) == (facts is None)
    assert found is None or (found | (facts or {}) == found and found["reconciled"])


def test_only_what_the_log_knows_is_looked_up() -> None:
    assert place_for({"of": "grant:g1", "facts": {}}) == "grant-g1"
    assert place_for({"of": "request:r1", "facts": {}}) == place_for(ANSWER) == "approval.r1"
    assert place_for({"of": "config:x", "facts": {}}) is None
