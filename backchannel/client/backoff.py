"""Backoff: how long to wait before coming back, so that a thousand clients do not come back at once."""

from __future__ import annotations

from collections.abc import Callable

SHORTEST = 0.5
LONGEST = 20.0
HEALTHY = 30.0
"""Seconds a connection must have lasted before the next wait is a first one again."""


class Backoff:
    """Waits that double up to `LONGEST`, each drawn anew between `SHORTEST` and its bound (full jitter).

    Args:
        chance: a number from 0 up to 1, drawn for each wait.
    """

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._failures = 0

    def lasted(self, seconds: float) -> None:
        """Note how long the last connection served; a healthy one makes the next wait a first one."""
        if seconds >= HEALTHY:
            self._failures = 0

    def wait(self, at_least: float | None = None) -> float:
        """Seconds until the next attempt, at least as long as the other side asked for."""
        spread = min(LONGEST, SHORTEST * 2.0 ** min(self._failures, 16))
        self._failures += 1
        drawn = min(LONGEST, SHORTEST + self._chance() * spread)
        # Whoever names a time names it to many: the drawn part is kept on top, so that they do not meet.
        return drawn if at_least is None or at_least <= 0 else max(drawn, at_least + (drawn - SHORTEST))
