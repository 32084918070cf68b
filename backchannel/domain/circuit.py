"""Circuit breakers: who failed several times in a row is kept out for a while, then tried once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from backchannel.domain.settings import Breaker


@dataclass(frozen=True, slots=True)
class Circuit:
    """How often it failed in a row, when it last did, and since when one attempt is on trial."""

    failures: int = 0
    failed_at: float = 0.0
    trial: float | None = None

    def is_open(self, limits: Breaker) -> bool:
        return self.failures >= limits.failures

    def wait(self, now: float, limits: Breaker) -> float:
        """Seconds until an attempt is let in; 0 for at once."""
        if not self.is_open(limits):
            return 0.0
        since = self.failed_at if self.trial is None else max(self.failed_at, self.trial)
        return max(0.0, since + limits.retry_after - now)

    def attempted(self, now: float, limits: Breaker) -> Circuit:
        """Somebody was let in; while the circuit is open that is the one attempt."""
        return replace(self, trial=now) if self.is_open(limits) else self

    def failed(self, now: float) -> Circuit:
        return Circuit(self.failures + 1, now)
