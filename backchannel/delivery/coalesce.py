"""Coalescing: which updates come so fast after one another that they are given together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from backchannel.delivery.traits import URGENT, Traits

MOST_STRANDS = 4096
"""Strands remembered at a time; one that was forgotten begins anew, which delays nothing."""

PRESENCE = "presence"
"""The topic under which the states of one agent are coalesced."""


class Strand(NamedTuple):
    """Updates of one sender to one topic in one context follow one another; only the latest matters much."""

    context: str
    sender: str
    topic: str


def strand_of(one: Traits) -> Strand | None:
    """The strand an event belongs to; None for whatever is always given by itself: what has no topic, what
    is said in conversation, what concerns somebody in person, and everything urgent."""
    if one.rank < URGENT:
        return None
    match one.kind:
        case "memory" if one.topic is not None:
            return Strand(one.context or "", one.sender, one.topic)
        case "presence":
            return Strand("", one.sender, PRESENCE)
    return None


class Pace:
    """When each strand was last given something. Times are seconds."""

    __slots__ = ("_given", "_most")

    def __init__(self, most: int = MOST_STRANDS) -> None:
        self._given: OrderedDict[Strand, float] = OrderedDict()
        self._most = most

    def wait_until(self, strand: Strand, now: float, window: float) -> float | None:
        """Until when an update waits for others; None if it goes at once, because it was quiet before."""
        given = self._given.get(strand)
        if given is None or now >= given + window:
            self.gave(strand, now)
            return None
        return given + window

    def gave(self, strand: Strand, now: float) -> None:
        """Something of it is given now."""
        self._given[strand] = now
        self._given.move_to_end(strand)
        if len(self._given) > self._most:
            self._given.popitem(last=False)


T = TypeVar("T")


def bundled(events: Sequence[tuple[T, Strand | None]]) -> list[list[T]]:
    """Events in log order as the frames that hold them, in that same order.

    Updates of one strand that follow one another share a frame, and so do strands that are interwoven:
    nobody hears anything later than what came after it.
    """
    frames: list[list[T]] = []
    run: list[tuple[T, Strand]] = []
    for event, strand in events:
        if strand is not None:
            run.append((event, strand))
            continue
        frames.extend(_untangled(run))
        run = []
        frames.append([event])
    frames.extend(_untangled(run))
    return frames


def _untangled(run: Sequence[tuple[T, Strand]]) -> list[list[T]]:
    """Cut a run where no strand goes on beyond the cut."""
    last = {strand: place for place, (_, strand) in enumerate(run)}
    frames: list[list[T]] = []
    together: list[T] = []
    end = -1
    for place, (event, strand) in enumerate(run):
        together.append(event)
        end = max(end, last[strand])
        if place == end:
            frames.append(together)
            together = []
    return frames
