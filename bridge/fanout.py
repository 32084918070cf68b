"""The fan-out: what came in during a turn of the loop, to everybody who may hear it, at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from backchannel.delivery.audience import Life, Membership
from backchannel.delivery.coalesce import Pace, strand_of
from backchannel.delivery.traits import URGENT, traits
from backchannel.domain.settings import Settings
from bridge.listeners import Listener, Listeners, give_up
from bridge.ring import Event

MOST_HELD = 1_000
"""Events that wait to be coalesced, at most."""


class Fanout:
    """Who listens to one group, and what they are to be given at the end of this turn.

    What replays rely on: the index of listeners changes only when nothing is pending.
    """

    def __init__(self, membership: Membership, settings: Callable[[], Settings]) -> None:
        self.membership = membership
        self.listeners = Listeners()
        self.returning: dict[Listener, None] = {}
        self._settings = settings
        self._pending: list[Event] = []
        self._flushing = False
        self._timer: asyncio.TimerHandle | None = None
        self._pace = Pace()

    def join(self, listener: Listener) -> None:
        """Let it hear everything that is yet to come."""
        self.flush()
        self.returning.pop(listener, None)
        self.listeners.add(listener, set(self.membership.contexts_of(listener.agent)))

    def part(self, listener: Listener) -> None:
        """Let it hear nothing any more, whether it was live or on its way there."""
        self.returning.pop(listener, None)
        self.listeners.remove(listener, set(self.membership.contexts_of(listener.agent)))

    def queue(self, event: Event) -> None:
        """To be heard at the end of this turn."""
        self._pending.append(event)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def move(self, event: Event, context_id: str, what: Life) -> None:
        """An event in a sidebar's life. Who comes in by it hears it, and who goes out does too."""
        change = self.membership.fold(event.sequence, context_id, what)
        if not change.joined and not change.left:
            self.queue(event)
            return
        self.flush()
        self.listeners.enter(change.joined, context_id)
        self._pending.append(event)
        self.flush()
        self.listeners.leave(change.left, context_id)

    def coalesce(self, event: Event, content: dict[str, Any]) -> None:
        """The first update of a quiet strand goes at once. What follows soon waits for more, until anything
        else happens: nobody hears it later than what came after it."""
        window = self._settings().coalesce.window
        strand = strand_of(traits(event.to, event.rank, content)) if window else None
        if strand is None:
            self.queue(event)
            return
        event, now = event._replace(strand=strand), asyncio.get_running_loop().time()
        until = self._pace.wait_until(strand, now, window)
        if until is None or self._flushing or len(self._pending) >= MOST_HELD:
            self._pace.gave(strand, now)
            self.queue(event)
            return
        self._pending.append(event)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(until, self._end_window)

    def flush(self) -> None:
        """Hand on what came in during this turn of the loop, and what waits to be coalesced."""
        self._flushing = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        events, self._pending = self._pending, []
        if not events:
            return
        for listener, heard, frames in self.listeners.share(events):
            try:
                listener.hear(heard, frames)
            except Exception:
                give_up(listener)
        if self.returning:
            self._overtake([event for event in events if event.rank < URGENT])

    def send_ahead(self, event: Event) -> None:
        """An emergency before its turn, to everybody who may hear it. It is for an inbox or for everyone."""
        self.flush()
        self._overtake([event])
        for listener, *_ in self.listeners.share([event]):
            try:
                listener.overtake(event)
            except Exception:
                give_up(listener)

    def _end_window(self) -> None:
        now = asyncio.get_running_loop().time()
        for strand in {event.strand for event in self._pending}:
            if strand is not None:
                self._pace.gave(strand, now)
        self.flush()

    def _overtake(self, urgent: Sequence[Event]) -> None:
        for event in urgent:
            for peer in tuple(self.returning):
                if not self.membership.sees(peer.agent, event.to, event.sequence, peer.access):
                    continue
                try:
                    peer.overtake(event)
                except Exception:
                    give_up(peer)
