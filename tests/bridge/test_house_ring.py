"""The ring holds the newest events, within its bounds, and says honestly how far back it reaches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backchannel.protocol.subject import ToEveryone
from bridge.ring import Event, Ring


def event(sequence: int, size: int = 10) -> Event:
    return Event(sequence, ToEveryone("presence"), "*", 4, b"x" * size, 2)


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(2, 60)), max_size=400),
    st.integers(1, 90),
    st.integers(50, 600),
    st.integers(0, 900),
)
def test_it_gives_exactly_what_follows_a_position_it_covers(
    steps: list[tuple[int, int]], most: int, length: int, position: int
) -> None:
    ring, everything, sequence = Ring(0, events=most, length=length), list[Event](), 0
    for step, size in steps:  # positions without an event for anybody leave holes
        sequence += step
        everything.append(event(sequence, size))
        ring.append(everything[-1])
    assert len(ring) <= most
    assert ring.length == sum(one.size for one in ring.after(0))
    assert ring.length <= length or len(ring) == 1
    if ring.covers(position):
        assert ring.after(position) == [one for one in everything if one.sequence > position]
        assert ring.after(position, 3) == ring.after(position)[:3]
    if not everything or everything[-1] in ring.after(0):
        assert ring.covers(sequence)


def test_a_ring_that_begins_late_does_not_cover_what_was_before() -> None:
    ring = Ring(7)
    assert not ring.covers(6)
    assert ring.covers(7)
    ring.append(event(9))
    assert [one.sequence for one in ring.after(7)] == [9]
