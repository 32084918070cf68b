"""Cursors say where somebody stands in one log, and are believed only for that one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.cursor import Continue, Cursor, Extent, Gap, place
from backchannel.errors import BadMessage

EPOCHS = st.from_regex(r"[0-9a-f]{8}", fullmatch=True)
SEQUENCES = st.integers(min_value=0, max_value=10**18)


@given(EPOCHS, SEQUENCES)
def test_a_cursor_written_and_read_is_the_same(epoch: str, sequence: int) -> None:
    assert Cursor.parse(str(Cursor(epoch, sequence))) == Cursor(epoch, sequence)


@given(st.text(max_size=60))
def test_whatever_is_not_a_cursor_is_refused_by_name(text: str) -> None:
    try:
        found = Cursor.parse(text, "resume.cursor")
    except BadMessage as error:
        assert error.field == "resume.cursor"
    else:
        assert str(found) == text


@pytest.mark.parametrize(
    "text", ["", "0.0", "deadbeef", "deadbeef.", "deadbeef.-1", "deadbeef.01", "DEADBEEF.1"]
)
def test_near_misses_are_refused(text: str) -> None:
    with pytest.raises(BadMessage):
        Cursor.parse(text)


@given(SEQUENCES, st.integers(0, 50), st.integers(0, 50))
def test_reading_goes_on_exactly_when_nothing_is_lost(position: int, first: int, length: int) -> None:
    log = Extent("0a0a0a0a", first, first + length - 1)
    everything_there = set(range(first, first + length))
    wanted = set(range(position + 1, max(log.last + 1, position + 1)))
    found = place(Cursor("0a0a0a0a", position), log)
    if position <= log.last and wanted <= everything_there:
        assert found == Continue(position)
    elif position > log.last or not wanted <= everything_there:
        assert isinstance(found, Gap)


def test_the_cursor_of_another_log_is_never_continued() -> None:
    found = place(Cursor("0a0a0a0a", 5), Extent("0b0b0b0b", 1, 9))
    assert isinstance(found, Gap)
    assert "another log" in found.reason


def test_a_log_that_holds_nothing_yet_is_read_on_from_its_beginning() -> None:
    assert place(Cursor("0a0a0a0a", 0), Extent("0a0a0a0a", 0, 0)) == Continue(0)
    assert place(Cursor("0a0a0a0a", 7), Extent("0a0a0a0a", 8, 7)) == Continue(7)
