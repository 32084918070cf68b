"""The pulse of a connection: how quickly it answers and keeps up, as a score from 0 to 100."""

from __future__ import annotations

from collections import deque
from typing import Literal

Condition = Literal["healthy", "degraded"]
Readiness = Literal["ready", "limited", "catching_up", "unavailable"]

REMEMBERED = 10
"""Round trips over which the mean is taken."""

QUICK, SLOW = 0.1, 2.0
"""Seconds of a round trip up to which nothing is taken off, and from which all that can be."""

FOR_ROUND_TRIP, FOR_STRIKE, FOR_CONGESTION, FOR_DROPS = 40, 25, 20, 25
DEGRADED_BELOW = 60


class Pulse:
    """What was measured of one connection lately. `missed` counts the heartbeats it did not answer."""

    __slots__ = ("_dropped_before", "_round_trips", "dropped", "missed")

    def __init__(self) -> None:
        self._round_trips: deque[float] = deque(maxlen=REMEMBERED)
        self._dropped_before = 0
        self.dropped = False
        self.missed = 0

    @property
    def round_trip(self) -> float | None:
        """The mean of the latest round trips, in seconds; None before the first."""
        return sum(self._round_trips) / len(self._round_trips) if self._round_trips else None

    def answered(self, seconds: float) -> None:
        """A ping came back."""
        self._round_trips.append(seconds)
        self.missed = 0

    def beat(self, missed: int, dropped: int) -> None:
        """A heartbeat: how many in a row were not answered, and how many events were ever left out."""
        self.missed = missed
        self.dropped, self._dropped_before = dropped > self._dropped_before, dropped

    def score(self, *, congested: bool) -> int:
        """100 is a connection that answers at once and keeps up."""
        late = ((self.round_trip or 0.0) - QUICK) / (SLOW - QUICK)
        lost = FOR_ROUND_TRIP * min(max(late, 0.0), 1.0) + FOR_STRIKE * self.missed
        lost += FOR_CONGESTION * congested + FOR_DROPS * self.dropped
        return max(0, round(100 - lost))


def condition(score: int) -> Condition:
    return "degraded" if score < DEGRADED_BELOW else "healthy"


def readiness(score: int, *, speaks: bool, live: bool) -> Readiness:
    """Whether somebody behind a connection can be worked with: an observer cannot, who catches up not yet."""
    if not speaks:
        return "unavailable"
    if not live:
        return "catching_up"
    return "limited" if condition(score) == "degraded" else "ready"
