from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backchannel.client.backoff import LONGEST, SHORTEST, Backoff

chances = st.floats(0, 1, exclude_max=True)


@given(st.lists(chances, min_size=1, max_size=40))
def test_every_wait_lies_between_the_shortest_and_the_longest(drawn: list[float]) -> None:
    draws = iter(drawn)
    backoff = Backoff(lambda: next(draws))
    for _ in drawn:
        assert SHORTEST <= backoff.wait() <= LONGEST


@given(chances, st.integers(0, 30))
def test_the_bound_doubles_until_the_longest(chance: float, failures: int) -> None:
    backoff = Backoff(lambda: chance)
    waits = [backoff.wait() for _ in range(failures + 1)]
    assert waits == sorted(waits)
    assert waits[-1] <= SHORTEST + SHORTEST * 2.0**failures


@given(chances, st.integers(1, 30), st.floats(30, 1e6))
def test_a_healthy_connection_makes_the_next_wait_a_first_one(
    chance: float, failures: int, lasted: float
) -> None:
    fresh, used = Backoff(lambda: chance), Backoff(lambda: chance)
    for _ in range(failures):
        used.wait()
    used.lasted(lasted)
    assert used.wait() == fresh.wait()


@given(st.integers(2, 30), st.floats(0, 29.9))
def test_a_connection_that_opens_and_dies_does_not_reset_the_waits(failures: int, lasted: float) -> None:
    backoff = Backoff(lambda: 0.999)
    for _ in range(failures):
        before = backoff.wait()
        backoff.lasted(lasted)
    assert backoff.wait() >= before


@given(chances, st.floats(0.01, 600))
def test_who_is_told_when_to_come_back_never_comes_earlier(chance: float, told: float) -> None:
    assert Backoff(lambda: chance).wait(told) >= told


def test_clients_told_the_same_time_do_not_meet() -> None:
    assert Backoff(lambda: 0.1).wait(60.0) != Backoff(lambda: 0.9).wait(60.0)
