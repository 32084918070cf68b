"""Flocks: requests of one kind that come soon after each other; one answer may do for all of them."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from backchannel.domain.canonical import digest
from backchannel.domain.decision import Mark
from backchannel.domain.supervision.risk import Risk

MOST = 20
"""Requests in a flock; the next one begins another."""


@dataclass(frozen=True, slots=True)
class Flock:
    """The first request of its kind, and how many have come with it, until `until` (seconds since 1970)."""

    leader: str
    count: int
    until: float

    @classmethod
    def read(cls, content: Mapping[str, Any] | None) -> Flock | None:
        return cls(**content) if content else None

    def mark(self, place: str, seconds: float) -> Mark:
        return Mark(place, asdict(self), max(1, int(seconds)))


def place_of(agent: str, tool: str, risk: Risk) -> str:
    """The name under which a flock is marked: one agent, one tool, one risk, the same folders."""
    folders = sorted({posixpath.dirname(path) or "." for path in risk.paths})
    return f"flock.{digest([agent, tool, risk.level, folders])[:32]}"


def joined(known: Flock | None, request_id: str, window: float, now: datetime) -> Flock:
    """The flock with one more in it, or a new one led by this request."""
    if known is not None and known.count < MOST and now.timestamp() < known.until:
        return Flock(known.leader, known.count + 1, known.until)
    return Flock(request_id, 1, now.timestamp() + window)
