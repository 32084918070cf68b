"""From where somebody reads on: nothing it is owed is skipped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.cursor import Cursor, Extent
from backchannel.delivery.resume import Standing, course, farthest, nothing_waits

EPOCH, OTHER = "0a0a0a0a", "0b0b0b0b"
POSITIONS = st.integers(0, 60)
EPOCHS = st.sampled_from([EPOCH, EPOCH, EPOCH, OTHER])
CURSORS = st.one_of(st.none(), st.builds(Cursor, EPOCHS, POSITIONS))
LOGS = st.tuples(st.integers(1, 20), st.integers(0, 40)).map(
    lambda found: Extent(EPOCH, found[0], found[0] + found[1] - 1)
)


@st.composite
def standings(draw: st.DrawFn) -> Standing | None:
    if draw(st.booleans()):
        return None
    return Standing(draw(EPOCHS), draw(POSITIONS), draw(POSITIONS))


@given(CURSORS, standings(), LOGS)
def test_nobody_is_told_it_resumed_when_something_is_lost(
    cursor: Cursor | None, standing: Standing | None, log: Extent
) -> None:
    found = course(cursor, standing, log, log.last)
    known = cursor or (Cursor(standing.epoch, standing.acked) if standing else None)
    if known is None:
        assert found.outcome == "live_only"
    elif known.epoch != log.epoch or known.sequence > log.last or known.sequence + 1 < log.first:
        assert found.outcome == "gap"
        assert found.failure
        assert found.after == log.last
    else:
        assert found.outcome == "resumed"
        assert found.after == known.sequence


@given(CURSORS, standings(), LOGS)
def test_what_is_kept_belongs_to_this_log_and_is_never_less_than_before(
    cursor: Cursor | None, standing: Standing | None, log: Extent
) -> None:
    found = course(cursor, standing, log, log.last)
    assert found.standing.epoch == log.epoch
    if found.outcome == "resumed" and standing is not None and standing.epoch == log.epoch:
        assert found.standing.acked >= standing.acked
        assert found.standing.since == standing.since


@given(standings(), LOGS, POSITIONS)
def test_what_everyone_heard_is_left_out_only_before_a_first_connection_that_is_not_settled(
    standing: Standing | None, log: Extent, position: int
) -> None:
    found = course(Cursor(EPOCH, position), standing, log, log.last)
    settled = standing is None or standing.epoch != EPOCH or standing.acked >= standing.since
    if found.outcome == "resumed" and settled:
        assert found.since == 0
    assert found.since <= max(standing.since if standing else 0, 0)


def test_a_newcomer_reads_what_waited_from_the_beginning_and_all_else_from_now() -> None:
    found = course(None, None, Extent(EPOCH, 5, 30), 30)
    assert (found.after, found.since, found.outcome) == (4, 30, "live_only")
    assert found.standing == Standing(EPOCH, 4, 30)
    begun = nothing_waits(found)
    assert (begun.after, begun.since) == (30, 0)
    assert begun.standing == Standing(EPOCH, 30, 30)


def test_a_newcomer_that_comes_back_before_it_acknowledged_still_gets_what_waited() -> None:
    log = Extent(EPOCH, 1, 30)
    first = course(None, None, log, 20)
    again = course(None, first.standing, log, 30)
    assert (again.after, again.since, again.outcome) == (0, 20, "resumed")
    halfway = course(Cursor(EPOCH, 7), first.standing, log, 30)
    assert (halfway.after, halfway.since) == (7, 20)
    settled = course(None, Standing(EPOCH, 25, 20), log, 30)
    assert (settled.after, settled.since) == (25, 0)


def test_whoever_goes_back_on_purpose_hears_everything_again() -> None:
    found = course(Cursor(EPOCH, 3), Standing(EPOCH, 25, 20), Extent(EPOCH, 1, 30), 30)
    assert (found.after, found.since) == (3, 0)
    assert found.standing.acked == 25


def test_a_position_in_this_log_counts_before_one_of_another_and_the_farthest_of_those() -> None:
    log = Extent(EPOCH, 1, 60)
    known = [Standing(OTHER, 50, 0), Standing(EPOCH, 7, 0), Standing(EPOCH, 9, 0)]
    assert farthest(known, log) == known[2]
    assert farthest([], log) is None
