"""Weaving: the frames of events, rapid updates to one topic joined into one, once for everybody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pydantic_core

from backchannel.delivery.coalesce import bundled
from bridge.framing import frame
from bridge.ring import Event

MOST_BYTES = 256 << 10
"""What one frame of several events holds at most; a larger event comes by itself."""


def woven(events: Sequence[Event]) -> bytes:
    """The joined frames of events in log order."""
    if len(events) < 2 or not any(event.strand for event in events):
        return b"".join([event.frame for event in events])
    bundles = bundled([(event, event.strand) for event in events])
    return b"".join([_frame(part) for bundle in bundles for part in _portions(bundle)])


def _portions(bundle: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Stretches that a client takes in one frame: whatever rapid updates hold, no frame grows with them."""
    start, length = 0, 0
    for place, event in enumerate(bundle):
        length += event.size
        if length > MOST_BYTES and place > start:
            yield bundle[start:place]
            start, length = place, event.size
    yield bundle[start:]


def _frame(events: Sequence[Event]) -> bytes:
    """One event as it is; several updates of one strand as one, of several strands as a batch."""
    first = events[0]
    if len(events) == 1 or first.strand is None:
        return first.frame
    joined = b",".join([event.body for event in events])
    if any(event.strand != first.strand for event in events):
        return frame(b'{"type":"batch","events":[%s]}' % joined)
    topic = pydantic_core.to_json(first.strand.topic)
    return frame(
        b'{"type":"coalesced_update","topic":%s,"count":%d,"updates":[%s]}' % (topic, len(events), joined)
    )
