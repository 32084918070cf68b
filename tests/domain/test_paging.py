"""Pages put together are the whole, each is bounded, and a row that is too large is shown in part."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from backchannel.domain.paging import SHORTENED, Part, page_of, shortened

TEXTS = st.text(max_size=40) | st.integers(0, 2_500).map(lambda count: 'é"\n' * count)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)
FIELDS = st.dictionaries(st.sampled_from(["a", "bb", "ccc", "dddd"]), VALUES, max_size=4)
BOUND = 4_096


def bytes_of(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def pages(rows: list[dict[str, Any]], limit: int) -> list[Part]:
    """Every page, asked for as a client does: behind the last name that the page before told."""
    found, after = list[Part](), ""
    while True:
        rest = (row for row in rows if row["name"] > after)
        found.append(page_of(rest, lambda row: str(row["name"]), lambda row: row, limit, BOUND))
        if found[-1].next is None:
            return found
        after = found[-1].next


@settings(max_examples=50)
@given(st.lists(FIELDS, max_size=8), st.integers(1, 5))
def test_the_pages_together_are_all_rows_once_and_in_order(fields: list[Any], limit: int) -> None:
    rows = [{**one, "name": f"{number:04}"} for number, one in enumerate(fields)]
    found = pages(rows, limit)
    told = [row for part in found for row in part.rows]
    assert [row["name"] for row in told] == [row["name"] for row in rows]
    assert all(row == rows[place] for place, row in enumerate(told) if SHORTENED not in row)
    assert all(len(part.rows) <= limit and bytes_of(part.rows) <= BOUND + 64 for part in found)
    assert all(part.rows for part in found[1:])
    whole = [row for row in rows if bytes_of(row) <= BOUND]
    assert all(row in told for row in whole), "one that fits into a page by itself was cut"


@given(FIELDS)
def test_a_row_says_what_of_it_is_not_whole(fields: dict[str, Any]) -> None:
    row = {**fields, "name": "ada"}
    told = shortened(row, BOUND)
    if bytes_of(row) <= BOUND:
        assert told == row
        return
    assert bytes_of(told) <= BOUND
    cut = set(told[SHORTENED])
    assert cut and all(told[name] == row[name] for name in row if name not in cut)
    assert told["name"] == "ada"


def test_only_the_largest_give_way() -> None:
    told = shortened({"id": "x", "small": "s" * 500, "list": list(range(5_000)), "text": "é" * 50_000}, BOUND)
    assert told[SHORTENED] == ["list", "text"]
    assert told["small"] == "s" * 500
    assert told["text"].startswith("éé") and told["text"].endswith("…")
    assert told["list"] == list(range(len(told["list"]))) and len(told["list"]) > 100
