from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backchannel.client.arrivals import Arrival, Arrivals

NORMAL = 4
LOG = "0000aaaa"


def come(arrivals: Arrivals, number: int, rank: int = NORMAL) -> Arrival:
    arrival = arrivals.came(f"{LOG}.{number}", rank)
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
    assert arrivals.position == (f"{LOG}.{prefix - 1}" if prefix else None)


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
    assert len(arrivals) == waiting
    arrivals.finish(head)
    assert len(arrivals) == waiting - 1


def test_what_came_before_is_not_handed_out_again() -> None:
    arrivals = Arrivals()
    come(arrivals, 1)
    assert arrivals.came(f"{LOG}.1", NORMAL) is None


def test_memory_of_what_came_is_bounded() -> None:
    arrivals = Arrivals(remembered=10)
    for number in range(1000):
        arrivals.finish(come(arrivals, number))
    assert len(arrivals._known) == 10
    assert arrivals.position == f"{LOG}.999"


def test_nothing_counts_behind_what_was_left_out() -> None:
    arrivals = Arrivals()
    arrivals.finish(come(arrivals, 1))
    arrivals.leave_out(f"{LOG}.2")
    arrivals.finish(come(arrivals, 3))
    assert arrivals.position == f"{LOG}.1"


def test_what_was_overtaken_and_left_out_takes_the_position_back() -> None:
    arrivals = Arrivals()
    arrivals.finish(come(arrivals, 9, rank=2))
    arrivals.leave_out(f"{LOG}.5")
    assert arrivals.position is None
    arrivals.resume()
    arrivals.finish(come(arrivals, 5))
    assert arrivals.position == f"{LOG}.5"


@given(st.permutations(range(1, 13)), st.permutations(range(1, 13)), st.data())
def test_nothing_that_came_and_is_not_done_lies_before_the_position(
    order: list[int], finishing: list[int], data: st.DataObject
) -> None:
    """However they overtake one another and whenever each is finished."""
    arrivals = Arrivals()
    came: dict[int, Arrival] = {}
    done: set[int] = set()
    for number in order:
        came[number] = come(arrivals, number, rank=data.draw(st.sampled_from([2, NORMAL])))
        for finished in finishing[: data.draw(st.integers(0, 12))]:
            if finished in came:
                arrivals.finish(came[finished])
                done.add(finished)
        position = int(arrivals.position.partition(".")[2]) if arrivals.position else 0
        assert all(number in done for number in came if number <= position)
        assert len(arrivals) == len(came) - len(done)
    for arrival in came.values():
        arrivals.finish(arrival)
    assert arrivals.position == f"{LOG}.12"


def test_what_was_done_behind_a_hole_counts_when_it_comes_again() -> None:
    arrivals = Arrivals()
    arrivals.finish(come(arrivals, 1))
    arrivals.leave_out(f"{LOG}.2")
    behind = come(arrivals, 3)
    unread = come(arrivals, 4)
    arrivals.finish(behind)
    arrivals.resume()
    second = come(arrivals, 2)
    assert arrivals.came(f"{LOG}.3", NORMAL) is None
    assert arrivals.came(f"{LOG}.4", NORMAL) is None
    arrivals.finish(second)
    assert arrivals.position == f"{LOG}.3"
    arrivals.finish(unread)
    assert arrivals.position == f"{LOG}.4"


def test_a_repetition_does_not_take_the_position_back() -> None:
    arrivals = Arrivals()
    first, second = come(arrivals, 1), come(arrivals, 2)
    arrivals.finish(second)
    third = come(arrivals, 3)
    arrivals.finish(third)
    arrivals.came(f"{LOG}.2", NORMAL)
    arrivals.finish(first)
    assert arrivals.position == f"{LOG}.3"


def test_a_position_reached_by_overtaking_is_not_certain() -> None:
    arrivals = Arrivals()
    arrivals.finish(come(arrivals, 1))
    assert arrivals.certain == f"{LOG}.1"
    arrivals.finish(come(arrivals, 9, rank=2))
    assert arrivals.position == f"{LOG}.9"
    assert arrivals.certain is None
    arrivals.finish(come(arrivals, 10))
    assert arrivals.certain == f"{LOG}.10"


def test_after_a_gap_old_positions_mean_nothing() -> None:
    arrivals = Arrivals()
    old = come(arrivals, 1)
    arrivals.restart()
    arrivals.finish(old)
    assert arrivals.position is None
    arrivals.finish(come(arrivals, 7))
    assert arrivals.position == f"{LOG}.7"
