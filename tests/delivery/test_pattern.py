"""What a pattern finds, compared with Python's own, and what that costs."""

from __future__ import annotations

import re
import sys
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.infodump import Wanted, called_for
from backchannel.delivery.pattern import STRETCH, Pattern, folded

LETTERS = "abAB?*\n isk\u00df\u1e9e\u03c3\u03c2\u03a3\u0130\u0131\u017fK\u212a\u00b5\u03bc\u00e9\u00c9"
FULL = 1_000_000


def as_regex(pattern: str) -> re.Pattern[str]:
    """The same by another's engine, which takes all the time it wants."""
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(one, re.escape(one)) for one in pattern), re.I | re.S)


@given(st.text(LETTERS, max_size=24), st.text(LETTERS, max_size=8))
def test_a_pattern_fits_where_an_expression_would(text: str, pattern: str) -> None:
    assert Pattern(pattern).fits(text) == (as_regex(pattern).search(text) is not None)


@given(st.text("ab", max_size=40), st.text("ab?*", max_size=12))
def test_a_pattern_of_few_letters_fits_where_an_expression_would(text: str, pattern: str) -> None:
    assert Pattern(pattern).fits(text) == (as_regex(pattern).search(text) is not None)


def test_a_character_is_one_character_in_any_case_and_equals_what_an_expression_takes_for_it() -> None:
    for place in range(sys.maxunicode + 1):
        one = chr(place)
        assert len(folded(one)) == 1, hex(place)
        for other in {one.lower(), one.upper(), one.casefold()} - {one}:
            if len(other) == 1:
                same = re.fullmatch(re.escape(one), other, re.I) is not None
                assert not same or folded(one) == folded(other), (hex(place), other)


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        pytest.param("a" * 4095 + "b", False, id="nearly, everywhere"),
        pytest.param("b" + "a" * 4094, False, id="nearly, from the end"),
        pytest.param("a" * 2047 + "b" + "a" * 2047, False, id="nearly, in the middle"),
        pytest.param("?" * 4095, True, id="anything, so many times"),
        pytest.param("a?" * 2047 + "b", False, id="every other"),
        pytest.param("a" + "?" * 4000 + "b", False, id="far apart"),
        pytest.param("a*" * 2047 + "b", False, id="one after the other"),
        pytest.param("?*" * 2047, True, id="so many of anything"),
        pytest.param("a?a*" * 1000 + "b", False, id="pieces that move"),
    ],
)
@pytest.mark.parametrize("letter", ["a", "A", "ä"])
def test_no_pattern_costs_more_than_so_much_for_each_character(pattern: str, fits: bool, letter: str) -> None:
    pattern, text = pattern.replace("a", letter), letter * FULL
    search, costs = Pattern(pattern).search(text), []
    outcome = None
    try:
        while sum(costs) < 100 * FULL:
            costs.append(next(search))
    except StopIteration as end:
        outcome = end.value
    if outcome is None:  # it goes on, at most so long
        raise AssertionError(f"{sum(costs)} for {FULL}")
    assert outcome is fits
    assert sum(costs) <= 45 * FULL


def test_a_search_that_is_long_is_given_in_stretches() -> None:
    search = Pattern("a?b").search("ä" * 100_000 + "a" * 100_000 + "bb")
    assert max(islice(search, 1_000)) <= max(2 * STRETCH, 200_002)


def test_an_event_of_very_many_parts_that_are_no_texts_is_gone_through_in_stretches() -> None:
    wanted = Wanted(pattern=Pattern("x"))
    assert len(list(wanted.search({"data": [[] for _ in range(100_000)]}))) >= 100


def test_bounds_without_end_behind_the_call_for_everything_are_read_once() -> None:
    """Each used to make a copy of what follows: time that grows with the square."""
    fields = called_for("@infodumptruck " + "since 1 " * 120_000)
    assert fields is not None and fields["since"] == "1"
    assert called_for("@infodumptruck " + "since 1 until 2 tls*handshake") == {
        "since": "1",
        "until": "2",
        "pattern": "tls*handshake",
    }
