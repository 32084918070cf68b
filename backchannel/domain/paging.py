"""Paging: rows divided into answers of bounded bytes; a row that is too large is shown shortened."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from pydantic_core import to_json

MOST_BYTES = 512 * 1024
"""Bytes that the rows of one answer may have."""
LARGEST_ROW = 64 * 1024
SHORTENED = "shortened"
"""The field of a row, or of an answer, that names which of its other fields are not whole."""
CUT = "…"
"""Where the rest of a text was left out."""

Row = TypeVar("Row")


class Part(NamedTuple):
    """Rows of one answer, and the name of the last one, behind which the next answer begins."""

    rows: list[dict[str, Any]]
    next: str | None


def page_of(
    found: Iterable[Row],
    named: Callable[[Row], str],
    shown: Callable[[Row], Mapping[str, Any]],
    limit: int,
    most_bytes: int = MOST_BYTES,
) -> Part:
    """As many of the rows as fit, at least one; `found` may go on, only what is needed is looked at.

    Args:
        named: the name that the rows are ordered by; no two have the same.
        shown: a row as it is told.
    """
    rows: list[dict[str, Any]] = []
    last: str | None = None
    left, largest = most_bytes, min(LARGEST_ROW, most_bytes)
    for one in found:
        row = shortened(shown(one), largest)  # by what a row may have: what is left of a page cuts none
        left -= _size(row) + 1
        if rows and (left < 0 or len(rows) >= limit):
            return Part(rows, last)
        rows.append(row)
        last = named(one)
    return Part(rows, None)


def shortened(row: Mapping[str, Any], most: int = LARGEST_ROW) -> dict[str, Any]:
    """The row in at most `most` bytes of JSON: its largest fields are cut, and named in `shortened`.

    What is small stays whole, so that a row always says what it is about.
    """
    kept, cut = dict(row), list[str]()
    if _size(kept) <= most:
        return kept
    rest, left = most - len(SHORTENED) - 8 - sum(2 * len(to_json(name)) + 4 for name in row), len(row)
    for name in sorted(row, key=lambda name: _size(row[name])):
        share = max(rest // left, 0)
        if _size(row[name]) > share:
            kept[name] = _cut(row[name], share)
            cut.append(name)
        rest, left = rest - _size(kept[name]), left - 1
    return {**kept, SHORTENED: sorted(cut)}


def _cut(value: Any, room: int) -> Any:
    """The beginning of it, in about so many bytes."""
    match value:
        case _ if _size(value) <= room:
            return value
        case str():
            return _text(value, room)
        case list() | tuple():
            return _list(value, room)
        case Mapping():
            return dict(_list(value.items(), room))
    return None


def _text(value: str, room: int) -> str:
    low, high = 0, min(len(value), max(room, 0))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _size(value[:middle] + CUT) <= room else (low, middle - 1)
    return value[:low] + CUT


def _list(value: Iterable[Any], room: int) -> list[Any]:
    kept, left = list[Any](), room - 2
    for one in value:
        left -= _size(one) + 1
        if left < 0:
            break
        kept.append(one)
    return kept


def _size(value: Any) -> int:
    return len(to_json(value, inf_nan_mode="null"))
