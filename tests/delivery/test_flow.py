"""The flow of one agent: what counts as a flood, however slowly its messages are looked at."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.flow import FLOOD_MESSAGES, FORGOTTEN_MESSAGES, Flow


def seconds_until_flood(refused_a_second: int, most: int = 60) -> float | None:
    flow = Flow.of(200.0, 2_097_152.0)
    for number in range(refused_a_second * most):
        now = 1000.0 + number / refused_a_second
        flow.refuse(50, now)
        if flow.floods_now:
            return now - 1000.0
    return None


def test_who_is_looked_at_slowly_floods_all_the_same() -> None:
    """Where the machine is busy, fewer refusals a second are made than are called for."""
    assert seconds_until_flood(1_000) is not None
    assert seconds_until_flood(2_900) is not None


@given(st.integers(1, int(FORGOTTEN_MESSAGES) - 1))
def test_who_is_refused_a_little_all_the_time_does_not_flood(refused: int) -> None:
    assert seconds_until_flood(refused, 10) is None


def test_a_burst_within_what_may_be_refused_is_no_flood_and_is_forgotten() -> None:
    flow = Flow.of(200.0, 2_097_152.0)
    for burst in range(5):
        for _ in range(int(FLOOD_MESSAGES)):
            flow.refuse(50, 1000.0 + burst * 10)
        assert not flow.floods_now


def test_bytes_alone_are_a_flood() -> None:
    flow = Flow.of(200.0, 2_097_152.0)
    for number in range(20):
        flow.refuse(1 << 20, 1000.0 + number / 100)
    assert flow.floods_now
