"""The outbox of a congested connection: what waits, by lane, and what had to be left out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from backchannel.protocol.lane import LANES, NEVER_DROPPED

KEPT = len(NEVER_DROPPED)
"""Ranks below this are never left out."""


class Waiting(Protocol):
    """An event that waits: its position, its lane's rank (0 is the most urgent) and its length in bytes."""

    @property
    def sequence(self) -> int: ...
    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...


W = TypeVar("W", bound=Waiting)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait: `events` and `length` (bytes) before something is left out, and the hard ends of
    what is never left out, past which the connection is hopeless. `at_once` bytes leave in one go."""

    events: int = 200
    length: int = 8 << 20
    hard_events: int = 5_000
    hard_length: int = 32 << 20
    at_once: int = 128 << 10


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Events that were left out: the first and the last position among them, and how many by lane.

    `spans` is the first and the last of each lane. Between those nothing of that lane was sent: the oldest
    of a lane leaves, and nothing is taken for sending between two reports.
    """

    first: int
    last: int
    by_lane: dict[str, int] = field(default_factory=dict)
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(self.by_lane.values())


class Outbox(Generic[W]):
    """A queue for each lane. When it is full the oldest of the lowest lane leaves; the top lanes never do."""

    __slots__ = ("_bounds", "_dropped", "_lanes", "_length", "_spans", "_waiting")

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._lanes: tuple[deque[W], ...] = tuple(deque() for _ in LANES)
        self._waiting = 0
        self._length = 0
        self._dropped = [0] * len(LANES)
        self._spans: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return self._waiting

    @property
    def length(self) -> int:
        """Bytes that wait."""
        return self._length

    @property
    def hopeless(self) -> bool:
        """More waits than may ever, and none of it may be left out."""
        return self._waiting > self._bounds.hard_events or self._length > self._bounds.hard_length

    @property
    def lowest(self) -> int | None:
        """The first position that waits, or was left out and not yet reported."""
        waiting = [lane[0].sequence for lane in self._lanes if lane]
        waiting.extend(first for first, _ in self._spans.values())
        return min(waiting, default=None)

    def push(self, item: W) -> None:
        """Add an event; positions rise from push to push."""
        self._lanes[item.rank].append(item)
        self._waiting += 1
        self._length += item.size
        while self._full and self._leave_one_out():
            pass

    def pop(self) -> W | None:
        """The oldest event of the most urgent lane in which any waits."""
        for lane in self._lanes:
            if lane:
                return self._taken(lane.popleft())
        return None

    def left_out(self) -> LeftOut | None:
        """What was left out since this was last asked."""
        spans, self._spans = self._spans, {}
        if not spans:
            return None
        by_lane = {LANES[rank].value: count for rank, count in enumerate(self._dropped) if count}
        self._dropped = [0] * len(LANES)
        first = min(first for first, _ in spans.values())
        last = max(last for _, last in spans.values())
        return LeftOut(
            first, last, by_lane, {LANES[rank].value: span for rank, span in sorted(spans.items())}
        )

    @property
    def _full(self) -> bool:
        return self._waiting > self._bounds.events or self._length > self._bounds.length

    def _leave_one_out(self) -> bool:
        for rank in range(len(LANES) - 1, KEPT - 1, -1):
            if self._lanes[rank]:
                self._note(self._taken(self._lanes[rank].popleft()).sequence, rank)
                return True
        return False

    def _note(self, sequence: int, rank: int) -> None:
        first, _ = self._spans.get(rank, (sequence, sequence))
        self._spans[rank] = (first, sequence)  # a lane's positions rise
        self._dropped[rank] += 1

    def _taken(self, item: W) -> W:
        self._waiting -= 1
        self._length -= item.size
        return item
