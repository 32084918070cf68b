"""The pace of a sender is bounded over any stretch of time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.pace import TokenBucket


@given(st.lists(st.floats(0, 5), max_size=200))
def test_no_stretch_of_time_lets_more_through_than_burst_and_rate(pauses: list[float]) -> None:
    bucket, now, passed = TokenBucket(10, 20), 0.0, 0
    for pause in pauses:
        now += pause
        passed += bucket.take(now) == 0.0
    assert passed <= 20 + 10 * now + 1e-6


@given(st.integers(0, 60))
def test_whoever_waits_as_long_as_told_gets_through(extra: int) -> None:
    bucket = TokenBucket(7, 3)
    wait = 0.0
    for _ in range(extra + 4):
        wait = bucket.take(100.0)
    assert wait > 0
    assert bucket.take(100.0 + wait + 1e-9) == 0.0


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    bucket = TokenBucket(1, 1)
    assert bucket.take(100.0) == 0.0
    assert bucket.take(50.0) > 0.0
    assert bucket.take(50.5) > 0.0
