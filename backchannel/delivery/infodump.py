"""Infodump: which part of the history was asked for, and what of it fits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from backchannel.delivery.cursor import Cursor
from backchannel.delivery.pattern import Pattern, Search
from backchannel.errors import BadMessage
from backchannel.protocol.attention import Infodump
from backchannel.protocol.lane import RANK

Point = Cursor | datetime
"""A place in the log: a position, or whatever was stored at a moment."""

_NO_TEXT = frozenset({"type", "message_id", "timestamp", "cursor", "trace_id", "causation_id", "reply_to"})
_DEEPEST = 32
_PARTS = 500
"""Parts of an event after which a search lets others go on."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an infodump asks for. `spans` holds a first and a last cursor for each rank of a lane."""

    since: Point | None = None
    until: Point | None = None
    pattern: Pattern | None = None
    spans: Mapping[int, tuple[Cursor, Cursor]] = field(default_factory=dict)
    after: Cursor | None = None
    limit: int = 1000

    @property
    def cursors(self) -> Iterator[Cursor]:
        """Every position that was named; each belongs to some log."""
        yield from (one for one in (self.since, self.until, self.after) if isinstance(one, Cursor))
        for span in self.spans.values():
            yield from span

    def takes(self, sequence: int, rank: int) -> bool:
        """Whether the event there is one of those, as far as its place tells."""
        if not self.spans:
            return True
        span = self.spans.get(rank)
        return span is not None and span[0].sequence <= sequence <= span[1].sequence

    def search(self, event: Mapping[str, Any]) -> Search:
        """Whether any text of an event fits the pattern; a stretch at a time."""
        if self.pattern is None:
            return True
        for number, text in enumerate(_parts(event), 1):
            if number % _PARTS == 0:
                yield _PARTS * 8
            if text is not None:
                fits = yield from self.pattern.search(text)
                if fits:
                    return True
        return False


def wanted(asked: Infodump) -> Wanted | None:
    """What is asked for; None for everything from now on.

    Raises:
        BadMessage: `since` or `until` is neither a time nor a cursor, or a span is none of cursors.
    """
    found = Wanted(
        since=_point(asked.since, "since"),
        until=_point(asked.until, "until"),
        pattern=Pattern(asked.pattern) if asked.pattern is not None else None,
        spans={RANK[lane]: _span(span) for lane, span in (asked.spans or {}).items()},
        after=Cursor.parse(asked.after, "after") if asked.after is not None else None,
        limit=asked.limit,
    )
    nothing = asked.since is asked.until is asked.pattern is asked.after is None and not asked.spans
    return None if nothing else found


def texts(value: Any) -> Iterator[str]:
    """Every text in an event but its ids, times and type."""
    return (text for text in _parts(value) if text is not None)


def _parts(value: Any, depth: int = 0) -> Iterator[str | None]:
    """The same, and None for each part that is no text: to go past it takes time, too."""
    match value:
        case str():
            yield value
        case dict() if depth < _DEEPEST:
            yield None
            for name, inner in value.items():
                if name not in _NO_TEXT:
                    yield from _parts(inner, depth + 1)
        case list() if depth < _DEEPEST:
            yield None
            for inner in value:
                yield from _parts(inner, depth + 1)
        case _:
            yield None


def _span(span: tuple[str, str]) -> tuple[Cursor, Cursor]:
    return Cursor.parse(span[0], "spans"), Cursor.parse(span[1], "spans")


def _point(text: str | None, name: str) -> Point | None:
    if text is None:
        return None
    if "-" not in text:
        return Cursor.parse(text, name)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BadMessage(
            f"{text[:40]!r} is neither a cursor nor a time such as 2026-01-31T12:00:00Z.", field=name
        )
    return moment


_TRUCK = re.compile(r"@infodumptruck(?![\w-])[ \t,:]*(?P<rest>[^\n]{0,8192})", re.IGNORECASE)
_BOUND = re.compile(r"(since|until)[ :=]+(\S+)[ \t]*", re.IGNORECASE)


def called_for(text: str) -> dict[str, str] | None:
    """The fields of an infodump that a text calls for with ``@infodumptruck``; None if it does not.

    ``@infodumptruck since 2026-01-31T12:00:00Z until 2026-01-31T13:00:00Z tls*handshake``: bounds first, what
    is left of the line is the pattern. Nothing behind it means everything from now on.
    """
    found = _TRUCK.search(text)
    if found is None:
        return None
    rest, start, fields = found["rest"], 0, {}
    while bound := _BOUND.match(rest, start):
        fields[bound[1].lower()] = bound[2]
        start = bound.end()
    pattern = rest[start:].strip().strip("\"'`.")
    return fields | ({"pattern": pattern[:4096]} if pattern else {})
