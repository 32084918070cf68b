"""Denials fill no trail, and none of them is left out of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.token import draft
from backchannel.domain.canonical import canonical
from backchannel.domain.decision import Decision
from backchannel.domain.settings import Approvals
from backchannel.domain.supervision.denials import IN_FULL, WITHIN, Denials, at_the_end
from backchannel.domain.supervision.open import Ask, opened
from backchannel.domain.supervision.risk import assess
from backchannel.domain.supervision.rules import USUAL
from tests.build import message


def denied(second: float, known: Denials | None, params: dict[str, Any] | None = None) -> Decision:
    said: Any = message("tool_request", tool="file_read", params=params or {})
    now = datetime.fromtimestamp(second, UTC)
    bearer = draft("ada", now=0, lifetime=60, jti="1", fields={})
    risk = assess("file_read", said.params, USUAL)
    ask = Ask(said, "main", bearer, now, Approvals(), lambda grant: "signed", risk)
    return opened(replace(ask, denials=known))


def marked(decided: Decision) -> Denials | None:
    [content] = [mark.content for mark in decided.marks if mark.what == "denials.ada"]
    return Denials.read(content)


@given(st.lists(st.floats(0, 3 * WITHIN), min_size=1, max_size=80).map(sorted))
def test_every_denial_is_in_the_trail_by_itself_or_in_a_count_and_few_are_by_themselves(
    seconds: list[float],
) -> None:
    known, alone, counted = None, 0, 0
    for second in seconds:
        decided = denied(1000 + second, known)
        known = marked(decided)
        intents = [one for one in decided.deeds if one.phase == "intent"]
        alone += len(intents)
        counted += sum(one.facts["count"] for one in decided.deeds if one.action == "denials_gathered")
        assert decided.result["decision"] == "denied"
    end = at_the_end(known, "main", datetime.fromtimestamp(1000 + 5 * WITHIN, UTC))
    counted += sum(one.facts["count"] for one in end.deeds)
    assert alone + counted == len(seconds)
    assert alone <= 4 * IN_FULL


def test_the_first_that_is_only_counted_starts_the_timer_that_tells_the_count() -> None:
    known, started = None, []
    for number in range(IN_FULL + 3):
        decided = denied(1000 + number, known)
        known = marked(decided)
        started += [(number, timer.at) for timer in decided.timers if timer.name == "denials"]
    assert started == [(IN_FULL, datetime.fromtimestamp(1000 + WITHIN, UTC))]
    assert not at_the_end(known, "main", datetime.fromtimestamp(1001, UTC)).deeds
    [deed] = at_the_end(known, "main", datetime.fromtimestamp(1000 + WITHIN, UTC)).deeds
    assert (deed.entity, deed.facts["count"], deed.facts["tools"]) == ("ada", 3, {"file_read": 3})


def test_of_what_was_denied_little_is_kept_and_enough_to_prove_what_it_was() -> None:
    params = {"path": "a", "content": "x" * 100_000}
    decided = denied(1000, None, params)
    assert all(len(canonical(dict(mark.content))) < 6_000 for mark in decided.marks)
    [intent] = [one for one in decided.deeds if one.phase == "intent"]
    assert len(canonical(dict(intent.facts))) < 6_000
    assert intent.facts["params"]["path"] == "a"
    assert intent.facts["shortened"]["params"]["bytes"] == len(canonical(params))
