"""Circuit breakers: three failures open one, and then one attempt at a time decides."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backchannel.domain.circuit import Circuit
from backchannel.domain.settings import Breaker

LIMITS = Breaker(failures=3, retry_after=60)


def broken(times: int, now: float = 0.0) -> Circuit:
    circuit = Circuit()
    for _ in range(times):
        circuit = circuit.failed(now)
    return circuit


@given(st.integers(0, 10))
def test_it_opens_with_the_third_failure_and_not_before(times: int) -> None:
    assert (broken(times).wait(1.0, LIMITS) > 0) == (times >= 3)


def test_after_the_pause_one_attempt_is_let_in_and_the_next_waits_for_how_it_went() -> None:
    circuit = broken(3)
    assert circuit.wait(59.0, LIMITS) == 1.0
    assert circuit.wait(60.0, LIMITS) == 0.0
    circuit = circuit.attempted(60.0, LIMITS)
    assert circuit.wait(61.0, LIMITS) == 59.0
    assert circuit.failed(70.0).wait(71.0, LIMITS) == 59.0


@given(st.lists(st.integers(0, 1000), max_size=20))
def test_nobody_waits_longer_than_the_pause(moments: list[int]) -> None:
    circuit = Circuit()
    for now in sorted(moments):
        circuit = circuit.failed(now)
        assert circuit.wait(now, LIMITS) <= LIMITS.retry_after
