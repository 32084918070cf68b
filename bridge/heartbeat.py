"""The heartbeat of a bridge: one timer that pings every connection in its turn, and feels the loop's lag."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bridge.metrics import Metrics
from bridge.room import Room

TICK = 1.0


class Heartbeat:
    """Pings each wire once in so many seconds, a share of them at a time.

    Args:
        seconds: how many; asked at each tick, so that another number counts from there on.
        on_tick: called about once a second.
    """

    def __init__(
        self, room: Room, metrics: Metrics, seconds: Callable[[], float], on_tick: Callable[[], None]
    ) -> None:
        self._room = room
        self._seconds = seconds
        self._metrics = metrics
        self._on_tick = on_tick
        self._shares = 1
        self._turn = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._wait()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        loop, seconds = self._room.loop, self._seconds()
        self._shares = max(1, round(seconds / TICK))
        due = loop.time() + seconds / self._shares
        self._timer = loop.call_at(due, self._tick, due)

    def _tick(self, due: float) -> None:
        self._wait()
        late = max(0.0, self._room.loop.time() - due)
        self._metrics.loop_lag.set(late)
        self._metrics.loop_lags.observe(late)
        self._on_tick()
        self._turn = (self._turn + 1) % self._shares
        for wire in [one for one in self._room.wires if one.share % self._shares == self._turn]:
            wire.beat()
