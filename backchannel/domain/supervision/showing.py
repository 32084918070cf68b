"""Showing: requests as people read them, cut where they are large, and said to be cut; page by page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backchannel.domain.canonical import canonical, digest
from backchannel.domain.supervision.request import Request

LARGEST_ROW = 8_192
"""Bytes of one request in a list; whoever names its request_id gets it whole."""
LARGEST_PAGE = 1_048_576
"""Bytes of one page of a list."""
LARGEST_ASKED = 65_536
"""Bytes of one field of a question to a human."""
_LEAST = 160
"""Bytes below which something is not cut but summed up."""


def cut(fields: Mapping[str, Any], most: int) -> dict[str, Any]:
    """The same within so many bytes; what was cut stands in `shortened`, with its size and SHA-256.

    Only the largest fields are cut, one after the other, until the rest fits.
    """
    kept, shortened = dict(fields), {}
    sizes = {name: len(canonical(value)) for name, value in kept.items()}
    while sum(sizes.values()) > most:
        largest = max(sizes, key=lambda name: (sizes[name], name))
        if largest in shortened or sizes[largest] <= 2 * _LEAST:
            break
        shortened[largest] = {"bytes": sizes[largest], "sha256": digest(kept[largest])}
        rest = most - sum(sizes.values()) + sizes[largest]
        kept[largest] = _head(kept[largest], max(2 * _LEAST, min(rest, most // 4)))
        sizes[largest] = len(canonical(kept[largest]))
    return kept | ({"shortened": shortened} if shortened else {})


def page(
    requests: Sequence[Request], limit: int, after: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Rows of requests (the newest first) behind the place `after`, and where the next page begins."""
    rows: list[dict[str, Any]] = []
    left = LARGEST_PAGE
    newest = sorted(requests, key=place_of, reverse=True)
    waiting = [one for one in newest if after is None or place_of(one) < after]
    for one in waiting:
        row = cut(one.shown(), LARGEST_ROW)
        left -= len(canonical(row))
        if len(rows) == limit or (rows and left < 0):
            return rows, place_of(waiting[len(rows) - 1])
        rows.append(row)
    return rows, None


def place_of(request: Request) -> str:
    """Where a request stands in a list, as text that sorts."""
    return f"{request.asked_at}~{request.request_id}"


def _head(value: Any, most: int) -> Any:
    """The beginning of a value, of the same kind; nothing of it is made up."""
    size = len(canonical(value))
    if size <= most:
        return value
    match value:
        case str():
            return f"{value[: most // 4]}… ({size} bytes)"
        case Mapping() if most > _LEAST:
            return _first_members(value, most)
        case list() | tuple() if most > _LEAST:
            some = value[: max(1, most // _LEAST)]
            shown = [_head(one, most // len(some)) for one in some]
            return shown if len(some) == len(value) else [*shown, f"… and {len(value) - len(some)} more"]
    return f"… ({size} bytes)"


def _first_members(value: Mapping[str, Any], most: int) -> dict[str, Any]:
    """The smallest first: those are the ones that say what the large ones are for."""
    names = sorted(value, key=lambda name: len(canonical(value[name])))[: max(1, most // _LEAST)]
    left, shown = most, {}
    for number, name in enumerate(names):
        shown[str(name)[:128]] = _head(value[name], max(_LEAST // 2, left // (len(names) - number)))
        left -= len(canonical(shown[str(name)[:128]]))
    return shown if len(names) == len(value) else shown | {"…": f"{len(value) - len(names)} more"}
