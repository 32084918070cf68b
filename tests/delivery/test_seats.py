"""Who must go for one more connection, whatever bridge it comes to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from backchannel.delivery.seats import MOST, Seat, free_purpose, rivals


def seat(active: bool = False, purpose: str = "primary", connection: str = "1") -> Seat:
    return Seat(connection, "bridge", active, purpose)


def test_there_is_room_for_one_active_connection_and_one_more() -> None:
    active, watching = seat(True), seat(False)
    assert rivals([], active=True) == []
    assert rivals([active], active=False) == []
    assert rivals([active], active=True) == [active]
    assert rivals([watching], active=True) == []
    assert rivals([active, watching], active=False) == [active, watching]
    assert rivals([active, watching], active=True) == [active]


def test_two_connections_never_share_a_purpose() -> None:
    assert free_purpose([], "primary") == "primary"
    assert free_purpose([seat(purpose="primary")], "primary") == "backup"
    assert free_purpose([seat(purpose="observer")], "observer") == "backup"
    assert free_purpose([seat(purpose="backup")], "backup") == "observer"


@given(
    some.lists(
        some.tuples(some.booleans(), some.sampled_from(["primary", "observer", "backup"])), max_size=30
    )
)
def test_whoever_comes_there_are_never_more_than_two_nor_two_that_are_active(
    arrivals: list[tuple[bool, str]],
) -> None:
    taken: list[Seat] = []
    for number, (active, wanted) in enumerate(arrivals):
        while found := rivals(taken, active=active):
            taken.remove(found[0])
        taken.append(seat(active, free_purpose(taken, wanted), str(number)))
        assert len(taken) <= MOST
        assert sum(one.active for one in taken) <= 1
        assert len({one.purpose for one in taken}) == len(taken)
