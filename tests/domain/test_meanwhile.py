"""What was decided about an agent after it asked."""

from __future__ import annotations

from typing import Any

import pytest

from backchannel.domain.inforce import InForce, ToolNarrowing
from backchannel.domain.supervision.meanwhile import why_not_any_more
from backchannel.domain.trust.standing import Trust


def inforce(**fields: Any) -> InForce:
    return InForce(by="hana", at="2026-01-31T12:00:00.000Z", **fields)


@pytest.mark.parametrize(
    ("now", "trust"),
    [
        (inforce(level="locked"), None),
        (inforce(tools=ToolNarrowing(blocked=("file_read",))), None),
        (inforce(tools=ToolNarrowing(removed=("file_read",))), None),
        (inforce(revoked_before=1001), None),
        (None, Trust("ada", "read", level="locked")),
    ],
)
def test_what_rests_on_a_right_ends_with_it_and_says_why(now: InForce | None, trust: Trust | None) -> None:
    why = why_not_any_more("ada", "file_read", 1000.0, now, trust)
    assert why is not None and "ada" in why


def test_what_was_judged_by_other_rules_is_asked_for_again() -> None:
    why = why_not_any_more("ada", "file_read", 1000.0, None, rules_changed=True)
    assert why is not None and "rules" in why


@pytest.mark.parametrize(
    "now",
    [
        None,
        inforce(),
        inforce(level="high"),
        inforce(revoked_before=1000),
        inforce(tools=ToolNarrowing(blocked=("file_write",))),
    ],
)
def test_what_a_human_may_still_approve(now: InForce | None) -> None:
    assert why_not_any_more("ada", "file_read", 1000.0, now, Trust("ada", "read", level="high")) is None
