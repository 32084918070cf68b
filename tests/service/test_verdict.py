"""What becomes of a command that fails."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backchannel.errors import Conflict, Forbidden, Internal, Unavailable
from backchannel.service.verdict import TRIES, Retry, SetAside, Tell, verdict_on

attempts = st.integers(1, 1000)


@given(attempts)
def test_a_refusal_is_told_at_once(attempt: int) -> None:
    for error in (Forbidden("no"), Conflict("taken")):
        assert verdict_on(error, attempt) == Tell(error)


@given(attempts)
def test_an_unreachable_log_is_waited_out_without_end(attempt: int) -> None:
    verdict = verdict_on(Unavailable("away"), attempt)
    assert isinstance(verdict, Retry) and 0 < verdict.delay <= 15


@given(attempts)
def test_a_fault_of_ours_is_tried_a_few_times_and_then_set_aside(attempt: int) -> None:
    for error in (ZeroDivisionError(), Internal("JetStream refused it")):
        assert isinstance(verdict_on(error, attempt), Retry if attempt < TRIES else SetAside)


def test_who_waits_behind_a_fault_waits_less_than_a_second() -> None:
    delays = [verdict_on(ZeroDivisionError(), attempt) for attempt in range(1, TRIES)]
    assert sum(verdict.delay for verdict in delays if isinstance(verdict, Retry)) < 1
