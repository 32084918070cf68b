"""Coalesced updates: all of them, in order, none late because of others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.coalesce import Pace, Strand, bundled, strand_of
from backchannel.delivery.traits import Traits

STRANDS = [Strand("main", "ada", topic) for topic in ("tls", "db", "dns")]


@given(st.lists(st.sampled_from([*STRANDS, None]), max_size=40))
def test_the_frames_hold_every_event_in_order(said: list[Strand | None]) -> None:
    frames = bundled(list(enumerate(said)))
    assert [place for frame in frames for place in frame] == list(range(len(said)))
    assert all(len(frame) == 1 or None not in {said[place] for place in frame} for frame in frames)


@given(st.lists(st.sampled_from(STRANDS), max_size=40))
def test_a_strand_is_in_one_frame_of_a_run(said: list[Strand]) -> None:
    frames = [{said[place] for place in frame} for frame in bundled(list(enumerate(said)))]
    assert sum(map(len, frames)) == len(set(said))


@given(st.lists(st.tuples(st.sampled_from(STRANDS), st.floats(0, 1)), max_size=60), st.integers(1, 5))
def test_nobody_waits_longer_than_the_window(steps: list[tuple[Strand, float]], most: int) -> None:
    pace, now = Pace(most), 0.0
    for strand, later in steps:
        now += later
        until = pace.wait_until(strand, now, 0.5)
        assert until is None or now < until <= now + 0.5


def test_the_first_after_a_quiet_time_goes_at_once() -> None:
    pace = Pace()
    assert pace.wait_until(STRANDS[0], 0.0, 0.5) is None
    assert pace.wait_until(STRANDS[0], 0.1, 0.5) == 0.5
    assert pace.wait_until(STRANDS[1], 0.1, 0.5) is None
    pace.gave(STRANDS[0], 0.5)
    assert pace.wait_until(STRANDS[0], 0.6, 0.5) == 1.0
    assert pace.wait_until(STRANDS[0], 1.0, 0.5) is None


def test_only_updates_with_a_topic_and_presence_are_coalesced() -> None:
    said = Traits("memory_update", "ada", "memory", 4, "main", "tls")
    assert strand_of(said) == Strand("main", "ada", "tls")
    assert strand_of(said._replace(topic=None)) is None
    assert strand_of(said._replace(kind="talk")) is None
    assert strand_of(said._replace(rank=2)) is None
    assert strand_of(Traits("agent_presence", "ada", "presence", 4)) is not None
