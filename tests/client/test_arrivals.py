from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backchannel.client.arrivals import Arrival, Arrivals

NORMAL = 4


def come(arrivals: Arrivals, number: int, rank: int = NORMAL) -> Arrival:
    arrival = arrivals.came(f"e.{number}", rank)
    assert arrival is not None
    return arrival


@given(st.permutations(range(12)), st.integers(0, 12))
def test_the_position_is_the_end_of_what_is_done_without_a_hole(order: list[int], finished: int) -> None:
    arrivals = Arrivals()
    came = [come(arrivals, number) for number in range(12)]
    for number in order[:finished]:
        arrivals.finish(came[number])
    done = set(order[:finished])
    prefix = next((n for n in range(12) if n not in done), 12)
    assert arrivals.position == (f"e.{prefix - 1}" if prefix else None)


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_what_is_done_takes_no_room_behind_what_is_not(through: list[bool]) -> None:
    arrivals = Arrivals()
    head = come(arrivals, 0)
    waiting = 1
    for number, at_once in enumerate(through, 1):
        arrival = come(arrivals, number)
        if at_once:
            arrivals.finish(arrival)
        else:
            waiting += 1
    assert linked(arrivals) == waiting
    arrivals.finish(head)
    assert linked(arrivals) == waiting - 1


def linked(arrivals: Arrivals) -> int:
    count, entry = 0, arrivals._first
    while entry is not None:
        count, entry = count + 1, entry._after
    return count


def test_what_came_before_is_not_handed_out_again() -> None:
    arrivals = Arrivals()
    come(arrivals, 1)
    assert arrivals.came("e.1", NORMAL) is None


def test_memory_of_what_came_is_bounded() -> None:
    arrivals = Arrivals(remembered=10)
    for number in range(1000):
        arrivals.finish(come(arrivals, number))
    assert len(arrivals._known) == 10
    assert arrivals.position == "e.999"


def test_nothing_counts_behind_what_was_left_out() -> None:
    arrivals = Arrivals()
    arrivals.finish(come(arrivals, 1))
    arrivals.leave_out()
    arrivals.finish(come(arrivals, 3))
    assert arrivals.position == "e.1"


def test_what_was_done_behind_a_hole_counts_when_it_comes_again() -> None:
    arrivals = Arrivals()
    arrivals.finish(come(arrivals, 1))
    arrivals.leave_out()
    behind = come(arrivals, 3)
    unread = come(arrivals, 4)
    arrivals.finish(behind)
    arrivals.resume()
    second = come(arrivals, 2)
    assert arrivals.came("e.3", NORMAL) is None
    assert arrivals.came("e.4", NORMAL) is None
    arrivals.finish(second)
    assert arrivals.position == "e.3"
    arrivals.finish(unread)
    assert arrivals.position == "e.4"


def test_a_repetition_does_not_take_the_position_back() -> None:
    arrivals = Arrivals()
    first, second = come(arrivals, 1), come(arrivals, 2)
    arrivals.finish(second)
    third = come(arrivals, 3)
    arrivals.finish(third)
    arrivals.came("e.2", NORMAL)
    arrivals.finish(first)
    assert arrivals.position == "e.3"


def test_a_position_reached_by_overtaking_is_not_certain() -> None:
    arrivals = Arrivals()
    arrivals.finish(come(arrivals, 1))
    assert arrivals.certain == "e.1"
    arrivals.finish(come(arrivals, 9, rank=2))
    assert arrivals.position == "e.9"
    assert arrivals.certain is None
    arrivals.finish(come(arrivals, 10))
    assert arrivals.certain == "e.10"


def test_after_a_gap_old_positions_mean_nothing() -> None:
    arrivals = Arrivals()
    old = come(arrivals, 1)
    arrivals.restart()
    arrivals.finish(old)
    assert arrivals.position is None
    arrivals.finish(come(arrivals, 7))
    assert arrivals.position == "e.7"
