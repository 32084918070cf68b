"""The valve: holds back what a connection does not want to hear now, and gives it when it is due."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pydantic_core

from backchannel.delivery.outbox import Bounds
from backchannel.delivery.quality import Line, Preference
from backchannel.delivery.stage import Stage, Tally
from backchannel.delivery.subscription import chosen
from backchannel.delivery.traits import Areas
from backchannel.delivery.warmup import Warmup
from backchannel.protocol.frame import Subscription
from bridge.feed import Feed
from bridge.framing import frame
from bridge.ring import Event
from bridge.weave import woven

MOST_BYTES = 128 << 10
"""What one frame of a batch holds at most, if no single event is larger."""


class Valve:
    """Only a connection that chose something, or is being warmed up, has one. Frames that overtake what is
    held back say so in their cursor, so that resuming there brings what they overtook."""

    def __init__(self, agent: str, feed: Feed, bounds: Bounds) -> None:
        self.stage: Stage[Event] = Stage(agent, bounds)
        self._agent = agent
        self._feed = feed
        self._line = Line()
        self._looked = feed.now()

    @property
    def lowest(self) -> int | None:
        return self.stage.lowest

    @property
    def idle(self) -> bool:
        return self.stage.idle

    @property
    def overfull(self) -> bool:
        return self.stage.overfull

    def tune(self, said: Subscription, wish: Preference | None) -> None:
        """From now on this is what it wants."""
        now = self._feed.now()
        changed = self.stage.preference is not None and (
            wish is None or wish.mode != self.stage.preference.mode
        )
        self.stage.choice = chosen(self._agent, said, Areas(()) if wish is None else wish.required)
        self.stage.preference = wish
        self.stage.turn(self._is_slow, now)
        if changed:
            self.stage.release(now)

    def warm_up(self, stages: Sequence[float]) -> None:
        self.stage.warmup = Warmup(stages, self._feed.now())

    @property
    def _is_slow(self) -> bool:
        wish = self.stage.preference
        return wish is not None and (wish.says_slow or self._line.slow)

    def look(self, taken: int, waiting: int, round_trip: float) -> None:
        """About once a second: how the line does, and what has become due."""
        now = self._feed.now()
        if self.stage.preference is not None:
            self._line.look(taken, waiting, round_trip, now - self._looked)
            if self.stage.slow != self._is_slow:
                self.stage.turn(self._is_slow, now)
        self._looked = now
        self.stage.look(now)

    # ---- what passes

    def wants(self, event: Event) -> bool:
        """Whether it wants it at all. What it does not want counts as done."""
        return self.stage.choice is None or self.stage.wants(self._feed.traits(event))

    def sift(self, events: Sequence[Event], *, history: bool = False) -> list[Event]:
        """Those that pass at once; the others are kept, counted, or not wanted."""
        now, stage, feed = self._feed.now(), self.stage, self._feed
        return [event for event in events if stage.passes(event, feed.traits(event), now, history=history)]

    def frames(self, events: Sequence[Event]) -> bytes:
        """The joined frames of events that pass."""
        if self.stage.lowest is None:
            return woven(events)
        return b"".join([self.frame(event) for event in events])

    def frame(self, event: Event) -> bytes:
        lowest = self.stage.lowest
        return event.frame if lowest is None or event.sequence < lowest else frame(self.body(event))

    def body(self, event: Event) -> bytes:
        """The event as it is sent: if it overtakes something, its cursor says up to where all was given."""
        lowest = self.stage.lowest
        if lowest is None or event.sequence < lowest:
            return event.body
        return event.overtaking(lowest - 1)

    # ---- what was held back

    def due(self) -> tuple[bytes, int] | None:
        """The next frame's body of what is due, and how many events it holds; None if nothing is."""
        now = self._feed.now()
        events = self.stage.take(now, MOST_BYTES)
        if events:
            joined = b",".join([self.body(event) for event in events])
            return b'{"type":"batch","events":[%s]}' % joined, len(events)
        told = self.stage.told(now)
        return None if told is None else (pydantic_core.to_json(self._words(told)), 0)

    def _words(self, told: Tally) -> dict[str, Any]:
        cursor = self._feed.cursor_at
        return {
            "type": "summary",
            "from": cursor(told.first),
            "to": cursor(told.last),
            "count": told.count,
            "types": told.types,
            "contexts": told.contexts,
            "topics": {topic: (count, cursor(last)) for topic, (count, last) in told.topics.items()},
        }
