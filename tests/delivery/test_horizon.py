"""A reader's horizon says of every position what membership says of it, and never misses a turn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.audience import Life, Membership
from backchannel.delivery.horizon import Horizon
from backchannel.protocol.subject import InContext

NAMES = ("ada", "ben")
changes = st.lists(
    st.tuples(st.sampled_from(["one", "two"]), st.frozensets(st.sampled_from(NAMES))), max_size=20
)


@given(changes, st.integers(1, 25))
def test_what_is_seen_behind_a_position_is_what_membership_lets_be_seen(
    events: list[tuple[str, frozenset[str]]], born: int
) -> None:
    membership = Membership()
    for sequence, (context, members) in enumerate(events, start=1):
        membership.fold(sequence, context, Life("active", members))
    horizon = Horizon(born, membership.stretches_of("ada"))
    for position in range(len(events) + 2):
        view = horizon.behind(position)
        assert view.born == (position + 1 >= born)
        for context in ("one", "two"):
            sees = view.born and membership.sees("ada", InContext(context, "talk"), position + 1)
            assert (context in view.contexts) == sees


@given(changes, st.integers(1, 25))
def test_between_two_turns_the_view_stays(events: list[tuple[str, frozenset[str]]], born: int) -> None:
    membership = Membership()
    for sequence, (context, members) in enumerate(events, start=1):
        membership.fold(sequence, context, Life("active", members))
    horizon = Horizon(born, membership.stretches_of("ada"))
    for position in range(len(events) + 2):
        turn = horizon.next_turn(position)
        until = turn if turn is not None else len(events) + 30
        assert all(horizon.behind(at) == horizon.behind(position) for at in range(position, until))


@given(changes, st.integers(1, 25), st.integers(0, 20), st.frozensets(st.integers(1, 20)))
def test_widening_over_nothing_changes_nothing_that_is_seen(
    events: list[tuple[str, frozenset[str]]], born: int, stood: int, silent: frozenset[int]
) -> None:
    """At `silent` positions something else happens, so that stretches begin after a while of nothing."""
    membership = Membership()
    happened: dict[int, str] = {}
    for sequence, (context, members) in enumerate(events, start=1):
        if sequence not in silent:
            membership.fold(sequence, context, Life("active", members))
            happened[sequence] = context
    horizon = Horizon(born, membership.stretches_of("ada"))
    empty = {
        (name, start): stood
        for start, name in horizon.openings(stood)
        if not any(happened.get(at) == name for at in range(stood + 1, start))
    }
    wide = horizon.widened(empty)
    for at in range(stood + 1, len(events) + 2):
        before, after = horizon.behind(at - 1), wide.behind(at - 1)
        name = happened.get(at)
        assert (before.born, name in before.contexts) == (after.born, name in after.contexts)
