"""Infodump: what was asked for, by place, time and words."""

from __future__ import annotations

from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.cursor import Cursor
from backchannel.delivery.infodump import called_for, texts, wanted
from backchannel.delivery.pattern import Pattern
from backchannel.errors import BadMessage
from backchannel.protocol.attention import Infodump
from backchannel.protocol.lane import LANES, RANK, Lane
from tests.build import content

EPOCH = "0000aaaa"
NARROW = st.text(alphabet="abA? \n", max_size=12)


def asked(**fields: Any) -> Infodump:
    return Infodump.model_validate(content("infodump", **fields))


@given(NARROW, st.text(alphabet="ab*?", max_size=8))
def test_a_pattern_fits_wherever_a_glob_would_in_any_case(text: str, pattern: str) -> None:
    assert Pattern(pattern).fits(text) == fnmatchcase(text.casefold(), f"*{pattern}*")


def test_no_pattern_takes_long_over_a_long_text() -> None:
    assert not Pattern("a*" * 1000 + "b").fits("a" * 200_000)


@given(st.sampled_from(LANES), st.integers(1, 100), st.integers(0, 100), st.integers(0, 200))
def test_a_span_takes_its_own_lane_between_its_ends_and_nothing_else(
    lane: Lane, first: int, length: int, sequence: int
) -> None:
    span = [f"{EPOCH}.{first}", f"{EPOCH}.{first + length}"]
    found = wanted(asked(spans={lane: span}))
    assert found is not None
    for other in LANES:
        expected = other is lane and first <= sequence <= first + length
        assert found.takes(sequence, RANK[other]) == expected


def test_times_and_cursors_are_told_apart() -> None:
    found = wanted(asked(since="2026-01-31T12:00:00Z", until=f"{EPOCH}.7"))
    assert found is not None
    assert (found.since, found.until) == (datetime(2026, 1, 31, 12, tzinfo=UTC), Cursor(EPOCH, 7))
    assert [*found.cursors] == [Cursor(EPOCH, 7)]


@pytest.mark.parametrize("since", ["yesterday", "2026-01-31T12:00:00", "-1", "2026-13-01T00:00:00Z", "5"])
def test_what_is_neither_a_time_nor_a_cursor_is_refused(since: str) -> None:
    with pytest.raises(BadMessage) as refused:
        wanted(asked(since=since))
    assert refused.value.field == "since"


def test_nothing_named_means_everything_from_now_on() -> None:
    assert wanted(asked()) is None
    assert wanted(asked(limit=5)) is None
    assert wanted(asked(pattern="x")) is not None


def test_ids_and_times_are_no_text() -> None:
    event = content("memory_update", exchange={"content": {"deep": ["one"]}, "topic": "two"}, cursor="0.1")
    assert sorted(texts(event)) == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("@infodumptruck", {}),
        ("please @InfoDumpTruck tls handshake", {"pattern": "tls handshake"}),
        (
            "@infodumptruck since 2026-01-31T12:00:00Z until=2026-01-31T13:00:00Z",
            {"since": "2026-01-31T12:00:00Z", "until": "2026-01-31T13:00:00Z"},
        ),
        (
            "@infodumptruck since:2026-01-31T12:00:00Z 'tls*'",
            {"since": "2026-01-31T12:00:00Z", "pattern": "tls*"},
        ),
        ("@infodumptrucks", None),
        ("nothing of the kind", None),
    ],
)
def test_the_truck_is_called_by_name(text: str, fields: dict[str, str] | None) -> None:
    assert called_for(text) == fields
