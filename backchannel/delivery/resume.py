"""Resuming: from where somebody who comes, or comes back, reads on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from backchannel.delivery.cursor import Cursor, Extent, Gap, place

Outcome = Literal["resumed", "gap", "live_only"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far somebody is in the log `epoch`.

    `acked` is the position up to which it acknowledged everything, `since` that of its first connection.
    While `acked` is below `since`, something that waited for that first connection is still unacknowledged.
    """

    epoch: str
    acked: int
    since: int


@dataclass(frozen=True, slots=True)
class Course:
    """How somebody goes on: it reads everything after `after`.

    Up to `since` only what was for it in person counts: its inbox and its sidebars, but not what everyone
    heard before it was ever there. `standing` is to be kept, `failure` a sentence when there is a gap.
    """

    after: int
    outcome: Outcome
    standing: Standing
    since: int = 0
    failure: str | None = None


def farthest(known: Iterable[Standing], log: Extent) -> Standing | None:
    """Where an agent itself stands, of whom several positions are kept: one for each purpose."""
    return max(known, key=lambda one: (one.epoch == log.epoch, one.acked), default=None)


def course(cursor: Cursor | None, standing: Standing | None, log: Extent, now: int) -> Course:
    """Where to go on for somebody who shows `cursor`, or nothing, and of whom `standing` is kept, or nothing.

    Args:
        now: the position from which on it can hear live; not beyond `log.last`.
    """
    if cursor is None and standing is None:
        return _first_time(log, now)
    if cursor is None:
        assert standing is not None
        cursor = Cursor(standing.epoch, standing.acked)
    match place(cursor, log):
        case Gap(reason):
            return Course(now, "gap", Standing(log.epoch, now, now), failure=reason)
        case found:
            return _continue(found.after, standing, log)


def nothing_waits(found: Course) -> Course:
    """The course of a newcomer for whom nothing waits: it begins now."""
    now = found.since
    return replace(found, after=now, since=0, standing=replace(found.standing, acked=now))


def _first_time(log: Extent, now: int) -> Course:
    start = min(max(log.first - 1, 0), now)
    return Course(start, "live_only", Standing(log.epoch, start, now), since=now)


def _continue(after: int, standing: Standing | None, log: Extent) -> Course:
    if standing is None or standing.epoch != log.epoch:
        return Course(after, "resumed", Standing(log.epoch, after, after))
    acked = max(standing.acked, after)
    waiting = standing.acked < standing.since and after < standing.since
    return Course(after, "resumed", replace(standing, acked=acked), since=standing.since if waiting else 0)
