"""When what died is started again, and how often that is told."""

from __future__ import annotations

import signal
from dataclasses import dataclass

SHORTEST = 0.2
LONGEST = 5.0
HEALTHY = 30.0
"""Seconds after which a run counts as good and the delay starts from the beginning."""
QUIET = 60.0
"""Seconds between two reports about the same part."""


def ended(code: int) -> str:
    """How a process ended, in words; `code` is minus the signal's number if one ended it."""
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"


@dataclass
class Backoff:
    """Delays from SHORTEST to LONGEST seconds, doubled with every run that ended early."""

    delay: float = SHORTEST

    def after(self, lived: float) -> float:
        """Seconds to wait after a run of `lived` seconds."""
        if lived >= HEALTHY:
            self.delay = SHORTEST
        wait, self.delay = self.delay, min(self.delay * 2, LONGEST)
        return wait


@dataclass
class Pacer:
    """The first death is told at once; of a crash loop, no more than once a minute with a count."""

    told_at: float | None = None
    untold: int = 0

    def died(self, now: float) -> int:
        """How many deaths to report now; 0 to stay silent."""
        self.untold += 1
        if self.told_at is not None and now - self.told_at < QUIET:
            return 0
        self.told_at = now
        count, self.untold = self.untold, 0
        return count
