"""The same state said again within the window is no news; anything else is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.sameness import WINDOW, Sameness, State

SAID = st.lists(
    st.tuples(st.sampled_from(["ada", "bob"]), st.sampled_from(["working", "idle"]), st.floats(0, 40)),
    max_size=60,
)


@given(SAID)
def test_only_the_last_state_can_be_repeated_and_only_within_the_window(
    said: list[tuple[str, str, float]],
) -> None:
    sameness, now = Sameness(), 0.0
    last: dict[str, tuple[str, float]] = {}
    for sequence, (sender, state, later) in enumerate(said, 1):
        now += later
        before = last.get(sender)
        expected = before is not None and before[0] == state and now - before[1] < WINDOW
        assert (sameness.repeated(sender, state, now) is not None) is expected
        if not expected:
            sameness.told(sender, State(state, now, sequence))
            last[sender] = state, now


@given(st.permutations(range(1, 8)))
def test_in_whatever_order_states_are_heard_the_latest_counts(order: list[int]) -> None:
    sameness = Sameness()
    for sequence in order:
        sameness.told("ada", State(f"state {sequence}", 0.0, sequence))
    assert sameness.repeated("ada", "state 7", 1.0) is not None
    assert sameness.repeated("ada", "state 6", 1.0) is None


def test_memory_is_bounded_and_what_was_forgotten_counts_as_news() -> None:
    sameness = Sameness(most=2)
    for number, sender in enumerate(("ada", "bob", "cid"), 1):
        sameness.told(sender, State("idle", 0.0, number))
    assert sameness.repeated("ada", "idle", 1.0) is None
    assert sameness.repeated("cid", "idle", 1.0) is not None
    sameness.forget("cid")
    assert sameness.repeated("cid", "idle", 1.0) is None


def test_a_state_becomes_sure_and_a_newer_one_is_not() -> None:
    sameness = Sameness()
    sameness.told("ada", State("idle", 0.0, 1))
    sameness.told("ada", State("idle", 0.0, 1, sure=True))
    known = sameness.repeated("ada", "idle", 1.0)
    assert known is not None and known.sure
    sameness.told("ada", State("idle", 0.0, 2))
    known = sameness.repeated("ada", "idle", 1.0)
    assert known is not None and not known.sure
