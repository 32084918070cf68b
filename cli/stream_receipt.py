"""A receipt of what was read of an event log: first, last, count, gaps, duplicates, digest."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from backchannel.jetstream.read import Record

MOST_NAMED = 100
"""Gaps and duplicates that are named; all are counted."""


@dataclass(slots=True)
class Receipt:
    """What went by, in the order in which it was read.

    Args:
        window: seconds within which the log itself refuses an id that it has; later the same id is news.
        whole: whether every position was asked for; with a filter, positions are missing by intention.
    """

    window: float
    whole: bool = True
    first: int | None = None
    last: int | None = None
    count: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)
    _missing: list[tuple[int, int]] = field(default_factory=list)
    _duplicates: list[dict[str, Any]] = field(default_factory=list)
    _repeated: int = 0
    _ids: dict[str, int] = field(default_factory=dict)
    _recent: deque[tuple[float, str]] = field(default_factory=deque)

    def take(self, record: Record) -> None:
        """The next record."""
        if self.first is None:
            self.first = record.sequence
        elif self.whole and self.last is not None and record.sequence > self.last + 1:
            self._missing.append((self.last + 1, record.sequence - 1))
        self.last = record.sequence
        self.count += 1
        self._compare(record)
        name = f"{record.sequence} {record.subject} {len(record.payload)}\n"
        self._digest.update(name.encode() + record.payload)

    def settle(self, removed: Collection[int]) -> tuple[list[list[int]], int]:
        """The gaps, and how many positions are empty because what lay there was taken out, as timers are."""
        gaps: list[list[int]] = []
        taken_out = 0
        known = frozenset(removed)
        for start, end in self._missing:
            for position in range(start, end + 1):
                if position in known:
                    taken_out += 1
                elif gaps and gaps[-1][1] == position - 1:
                    gaps[-1][1] = position
                else:
                    gaps.append([position, position])
        return gaps, taken_out

    def shown(self, removed: Collection[int]) -> dict[str, Any]:
        gaps, taken_out = self.settle(removed)
        return {
            "first": self.first,
            "last": self.last,
            "count": self.count,
            "removed": taken_out,
            "missing": sum(end - start + 1 for start, end in gaps),
            "gaps": gaps[:MOST_NAMED],
            "repeated": self._repeated,
            "duplicates": self._duplicates,
            "digest": self._digest.hexdigest(),
        }

    def _compare(self, record: Record) -> None:
        message_id = (record.headers or {}).get("Nats-Msg-Id")
        if message_id is None:
            return
        now = datetime.fromisoformat(record.time).timestamp()
        while self._recent and self._recent[0][0] < now - self.window:
            self._ids.pop(self._recent.popleft()[1], None)
        earlier = self._ids.get(message_id)
        if earlier is None:
            self._ids[message_id] = record.sequence
            self._recent.append((now, message_id))
            return
        self._repeated += 1
        if len(self._duplicates) < MOST_NAMED:
            self._duplicates.append({"id": message_id, "positions": [earlier, record.sequence]})
