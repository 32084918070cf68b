"""The ring: recent events of one log as ready-made frames, for those who come back soon."""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter
from typing import NamedTuple

from backchannel.delivery.coalesce import Strand
from backchannel.protocol.subject import Destination

MOST_EVENTS = 20_000
MOST_BYTES = 64 << 20
_SEQUENCE = attrgetter("sequence")


class Event(NamedTuple):
    """One event of the log, framed once for everybody.

    `key` names its audience, `rank` is that of its lane, and `frame` a whole WebSocket frame whose body
    begins at `start`. `strand` names what it may be coalesced with.
    """

    sequence: int
    to: Destination
    key: str
    rank: int
    frame: bytes
    start: int
    strand: Strand | None = None

    @property
    def size(self) -> int:
        return len(self.frame)

    @property
    def body(self) -> bytes:
        return self.frame[self.start :]

    def overtaking(self, given: int) -> bytes:
        """Its body when all was sent only up to `given` before it: its cursor says so."""
        return b'%s.%d"}' % (self.body[:-2], given)


class Ring:
    """The last events of a log, bounded by number and bytes. It holds every event after `floor`."""

    def __init__(self, floor: int, *, events: int = MOST_EVENTS, length: int = MOST_BYTES) -> None:
        self.floor = floor
        self._events: list[Event] = []
        self._first = 0  # what lies before it in the list has left the ring
        self.length = 0
        self._most_events = events
        self._most_length = length

    def __len__(self) -> int:
        return len(self._events) - self._first

    def append(self, event: Event) -> None:
        self._events.append(event)
        self.length += event.size
        while len(self) > self._most_events or (self.length > self._most_length and len(self) > 1):
            self._forget_oldest()
        if self._first > len(self._events) // 2 and self._first > 64:
            del self._events[: self._first]
            self._first = 0

    def covers(self, position: int) -> bool:
        """Whether every event after `position` is here."""
        return position >= self.floor

    def after(self, position: int, most: int | None = None) -> list[Event]:
        """The events after `position`, oldest first, at most `most` of them."""
        start = bisect_right(self._events, position, lo=self._first, key=_SEQUENCE)
        return self._events[start : None if most is None else start + most]

    def _forget_oldest(self) -> None:
        oldest = self._events[self._first]
        self.floor = oldest.sequence
        self.length -= oldest.size
        # The slot must not keep the bytes alive until the list is cut.
        self._events[self._first] = oldest._replace(frame=b"")
        self._first += 1
