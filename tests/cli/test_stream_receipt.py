"""A receipt names what is missing and what is there twice, and nothing else."""

from __future__ import annotations

import hashlib
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from backchannel.jetstream.read import Record
from cli.stream_receipt import MOST_NAMED, Receipt

WINDOW = 300.0


def record(sequence: int, message_id: str = "", minute: int = 0) -> Record:
    headers = {"Nats-Msg-Id": message_id} if message_id else None
    time = f"2026-01-31T12:{minute:02}:00.000000001Z"
    return Record.made(sequence, "bc.main.evt.all.normal.presence", b"{}", headers, time)


def taken(*records: Record, whole: bool = True) -> Receipt:
    receipt = Receipt(WINDOW, whole)
    for one in records:
        receipt.take(one)
    return receipt


@given(st.sets(st.integers(1, 60), min_size=1), st.sets(st.integers(1, 60)))
def test_every_position_is_read_taken_out_or_missing(present: set[int], removed: set[int]) -> None:
    receipt = taken(*map(record, sorted(present)))
    gaps, taken_out = receipt.settle(removed)
    missing = {position for start, end in gaps for position in range(start, end + 1)}
    inside = set(range(min(present), max(present) + 1)) - present
    assert missing == inside - removed
    assert taken_out == len(inside & removed)
    assert all(later[0] > earlier[1] + 1 for earlier, later in pairwise(gaps))


def test_the_same_id_within_the_window_is_a_duplicate_and_after_it_is_not() -> None:
    shown = taken(record(1, "ada:1"), record(2, "bob:1", 1), record(3, "ada:1", 2), record(4, "bob:1", 50))
    assert (told := shown.shown(()))["repeated"] == 1
    assert told["duplicates"] == [{"id": "ada:1", "positions": [1, 3]}]


def test_with_a_filter_nothing_is_missing() -> None:
    told = taken(record(1), record(9), whole=False).shown(())
    assert (told["first"], told["last"], told["count"], told["missing"], told["gaps"]) == (1, 9, 2, 0, [])


def test_all_that_is_wrong_is_counted_and_some_of_it_named() -> None:
    told = taken(*(record(2 * number) for number in range(1, MOST_NAMED + 3))).shown(())
    assert (told["missing"], len(told["gaps"])) == (MOST_NAMED + 1, MOST_NAMED)


def test_the_digest_says_what_lay_where() -> None:
    subject = "bc.main.evt.all.normal.presence"
    expected = hashlib.sha256(f"7 {subject} 2\n".encode() + b"{}").hexdigest()
    assert taken(record(7, "ada:1")).shown(())["digest"] == expected
    assert taken(record(8)).shown(())["digest"] != expected


def test_of_nothing_there_is_a_receipt_too() -> None:
    told = taken().shown(())
    assert (told["first"], told["last"], told["count"]) == (None, None, 0)
