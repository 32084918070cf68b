"""A client is believed only for what it was given."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.acknowledgement import Acknowledgement


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
