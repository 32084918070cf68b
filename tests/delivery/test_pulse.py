"""The pulse of a connection: a score that falls with every trouble, and means over the latest pings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.pulse import REMEMBERED, Pulse, condition, readiness

SECONDS = st.floats(0, 60)


@given(st.lists(SECONDS, min_size=1, max_size=40), st.integers(0, 5), st.booleans(), st.booleans())
def test_a_score_lies_between_0_and_100_and_no_trouble_raises_it(
    round_trips: list[float], missed: int, drops: bool, congested: bool
) -> None:
    pulse = Pulse()
    for seconds in round_trips:
        pulse.answered(seconds)
    calm = pulse.score(congested=False)
    pulse.beat(missed, int(drops))
    worse = pulse.score(congested=congested)
    assert 0 <= worse <= calm <= 100
    assert pulse.round_trip == pytest.approx(sum(round_trips[-REMEMBERED:]) / len(round_trips[-REMEMBERED:]))


def test_a_quick_connection_is_healthy_and_one_that_misses_two_heartbeats_is_not() -> None:
    pulse = Pulse()
    pulse.answered(0.02)
    assert pulse.score(congested=False) == 100 and condition(100) == "healthy"
    pulse.beat(2, 0)
    assert condition(pulse.score(congested=False)) == "degraded"
    pulse.answered(0.02)
    assert pulse.score(congested=False) == 100


def test_drops_count_until_the_next_heartbeat_without_any() -> None:
    pulse = Pulse()
    pulse.beat(0, 5)
    assert pulse.score(congested=False) == 75
    pulse.beat(0, 5)
    assert pulse.score(congested=False) == 100


def test_who_only_observes_or_still_catches_up_is_not_ready() -> None:
    assert readiness(100, speaks=True, live=True) == "ready"
    assert readiness(10, speaks=True, live=True) == "limited"
    assert readiness(100, speaks=True, live=False) == "catching_up"
    assert readiness(100, speaks=False, live=True) == "unavailable"
