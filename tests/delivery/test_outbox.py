"""A congested connection: what waits keeps its order, and what matters most is never left out."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.outbox import KEPT, Bounds, LeftOut, Outbox
from backchannel.protocol.lane import LANES, NEVER_DROPPED


class Letter(NamedTuple):
    sequence: int
    rank: int
    size: int = 10


RANKS = st.lists(st.integers(0, len(LANES) - 1), max_size=120)
STEPS = st.lists(st.one_of(st.integers(0, len(LANES) - 1), st.just(None), st.just("report")), max_size=200)


def letters(ranks: list[int]) -> list[Letter]:
    return [Letter(sequence, rank) for sequence, rank in enumerate(ranks, 1)]


def emptied(outbox: Outbox[Letter]) -> list[Letter]:
    found = []
    while (one := outbox.pop()) is not None:
        found.append(one)
    return found


@given(RANKS)
def test_what_fits_comes_out_by_lane_and_in_order_within_a_lane(ranks: list[int]) -> None:
    outbox = Outbox[Letter](Bounds(events=1000))
    sent = letters(ranks)
    for letter in sent:
        outbox.push(letter)
    assert emptied(outbox) == sorted(sent, key=lambda one: (one.rank, one.sequence))
    assert outbox.left_out() is None


@given(RANKS, st.integers(1, 20))
def test_the_oldest_of_the_lowest_lane_leaves_first(ranks: list[int], most: int) -> None:
    outbox, model, dropped = Outbox[Letter](Bounds(events=most)), list[Letter](), list[Letter]()
    for letter in letters(ranks):
        outbox.push(letter)
        model.append(letter)
        lowest = max(one.rank for one in model)
        if len(model) > most and lowest >= KEPT:
            dropped.append(next(one for one in model if one.rank == lowest))
            model.remove(dropped[-1])
    report = outbox.left_out()
    assert sorted(emptied(outbox)) == model
    assert (report.count if report else 0) == len(dropped)
    if report:
        sequences = [one.sequence for one in dropped]
        assert (report.first, report.last) == (min(sequences), max(sequences))


@given(RANKS, st.integers(1, 5))
def test_the_top_lanes_are_never_left_out(ranks: list[int], most: int) -> None:
    outbox = Outbox[Letter](Bounds(events=most))
    sent = letters(ranks)
    for letter in sent:
        outbox.push(letter)
    kept = [one for one in sent if LANES[one.rank] in NEVER_DROPPED]
    assert [one for one in emptied(outbox) if one.rank < KEPT] == sorted(kept, key=lambda one: one.rank)


@given(STEPS, st.integers(1, 10))
def test_every_letter_is_taken_waiting_or_reported_once(steps: list[int | str | None], most: int) -> None:
    outbox = Outbox[Letter](Bounds(events=most))
    pushed = taken = reported = 0
    for sequence, step in enumerate(steps, 1):
        match step:
            case int(rank):
                outbox.push(Letter(sequence, rank))
                pushed += 1
            case "report":
                reported += (outbox.left_out() or LeftOut(0, 0)).count
            case _:
                taken += outbox.pop() is not None
    rest = len(outbox)
    reported += (outbox.left_out() or LeftOut(0, 0)).count
    assert pushed == taken + reported + rest
    assert len(emptied(outbox)) == rest
    assert outbox.length == 0


@given(RANKS, st.integers(1, 10), st.integers(0, 30))
def test_nothing_below_the_lowest_position_waits_or_is_missing(
    ranks: list[int], most: int, pops: int
) -> None:
    outbox = Outbox[Letter](Bounds(events=most))
    for letter in letters(ranks):
        outbox.push(letter)
    gone = {one.sequence for _ in range(pops) if (one := outbox.pop()) is not None}
    lowest = outbox.lowest
    settled = set(range(1, len(ranks) + 1 if lowest is None else lowest))
    assert settled <= gone


@given(STEPS, st.integers(1, 10))
def test_what_a_report_spans_in_a_lane_is_exactly_what_was_left_out(
    steps: list[int | str | None], most: int
) -> None:
    outbox, ranks, sent, spanned = (
        Outbox[Letter](Bounds(events=most)),
        dict[int, int](),
        set[int](),
        set[int](),
    )

    def report() -> None:
        spans = (outbox.left_out() or LeftOut(0, 0)).spans
        for sequence, rank in ranks.items():
            first, last = spans.get(LANES[rank].value, (1, 0))
            if first <= sequence <= last:
                assert sequence not in spanned, "a position is reported once"
                spanned.add(sequence)

    for sequence, step in enumerate(steps, 1):
        if isinstance(step, int):
            ranks[sequence] = step
            outbox.push(Letter(sequence, step))
            continue
        report()  # always before anything is taken for sending
        if step is None and (one := outbox.pop()) is not None:
            sent.add(one.sequence)
    report()
    sent |= {one.sequence for one in emptied(outbox)}
    assert not sent & spanned
    assert sent | spanned == set(ranks)


def test_long_letters_are_left_out_by_their_length() -> None:
    outbox = Outbox[Letter](Bounds(events=100, length=100))
    for sequence in range(1, 6):
        outbox.push(Letter(sequence, rank=4, size=40))
    assert len(outbox) == 2
    assert outbox.left_out() == LeftOut(1, 3, {"normal": 3}, {"normal": (1, 3)})
    assert outbox.left_out() is None


def test_a_reader_that_ignores_even_emergencies_is_hopeless() -> None:
    outbox = Outbox[Letter](Bounds(events=2, hard_events=5))
    for sequence in range(1, 6):
        outbox.push(Letter(sequence, rank=0))
    assert not outbox.hopeless
    outbox.push(Letter(6, rank=0))
    assert outbox.hopeless
