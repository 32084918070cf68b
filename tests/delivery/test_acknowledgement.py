"""A client is believed only for what it was given."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.acknowledgement import Acknowledgement, Ahead


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=50))
def test_the_position_only_rises_and_never_past_what_was_given(acks: list[tuple[int, int]]) -> None:
    acknowledgement = Acknowledgement()
    given_at_most = 0
    for sequence, contiguous in acks:
        before = acknowledgement.position
        given_at_most = max(given_at_most, contiguous)
        news = acknowledgement.acknowledge(sequence, contiguous)
        assert news == (acknowledgement.position > before)
        assert before <= acknowledgement.position <= given_at_most


@given(st.permutations(range(1, 13)), st.integers(1, 12))
def test_an_acknowledged_event_that_overtook_others_says_nothing_about_them(
    order: list[int], acknowledged: int
) -> None:
    """Events 1 to 12 are sent in some order; the client has read up to one of them and acknowledges that."""
    ahead = Ahead()
    sent: set[int] = set()
    received: set[int] = set()
    for sequence in order:
        contiguous = next(number for number in range(13) if number + 1 not in sent)
        ahead.note(sequence, contiguous)
        sent.add(sequence)
        if acknowledged not in received:
            received.add(sequence)
    surely = ahead.surely(acknowledged)
    assert set(range(1, surely + 1)) <= received


@given(st.permutations(range(1, 40)))
def test_what_is_forgotten_for_want_of_room_is_not_believed(order: list[int]) -> None:
    ahead = Ahead(most=3)
    sent: set[int] = set()
    for sequence in order:
        ahead.note(sequence, next(number for number in range(41) if number + 1 not in sent))
        sent.add(sequence)
        believed = ahead.surely(sequence)
        assert set(range(1, believed + 1)) <= sent


def test_in_order_nothing_is_remembered() -> None:
    ahead = Ahead()
    for sequence in range(1, 100):
        ahead.note(sequence, sequence - 1)
    assert ahead.surely(50) == 50
