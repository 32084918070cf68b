"""Pace: how fast somebody may go on, as a bucket of tokens that refills by the clock it is given."""

from __future__ import annotations


class TokenBucket:
    """`rate` tokens a second, `burst` at most. It starts full at the first take."""

    __slots__ = ("_burst", "_rate", "_since", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._since: float | None = None

    def tune(self, rate: float, burst: float) -> None:
        """Refill at another rate, up to another burst, from the next take on."""
        self._rate = rate
        self._burst = burst
        self._tokens = min(self._tokens, burst)

    def take(self, now: float, cost: float = 1.0) -> float:
        """Take `cost` tokens at `now` (seconds). 0.0 if they were there, else the seconds to wait."""
        if self._since is not None and now > self._since:
            self._tokens = min(self._burst, self._tokens + (now - self._since) * self._rate)
        self._since = now
        if self._tokens >= cost:
            self._tokens -= cost
            return 0.0
        return (cost - self._tokens) / self._rate

    def spend(self, now: float, cost: float) -> None:
        """Take `cost` tokens whether they are there or not: what is missing is a debt, paid off first."""
        if not self.take(now, cost):
            return
        self._tokens -= cost

    def give_back(self, cost: float) -> None:
        """What was taken for something that did not happen; never more than the bucket holds."""
        self._tokens = min(self._burst, self._tokens + cost)


class Account:
    """What is paid for after it was had: `rate` a second, `burst` at once. Whoever is in debt waits.

    Other than a bucket, of which nothing is taken that is not there, it takes any cost: how much a piece of
    work costs is known when it is done.
    """

    __slots__ = ("_burst", "_left", "_rate", "_since")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._since: float | None = None

    def tune(self, rate: float, burst: float) -> None:
        """Pay at another rate, and have another burst, from now on."""
        self._left = min(burst, self._left + max(0.0, burst - self._burst))
        self._rate, self._burst = rate, burst

    def charge(self, cost: float) -> None:
        """So much was had."""
        self._left -= cost

    def wait(self, now: float) -> float:
        """Seconds until the debt is paid at `now` (seconds); 0.0 if there is none."""
        if self._since is not None and now > self._since:
            self._left = min(self._burst, self._left + (now - self._since) * self._rate)
        self._since = now
        return max(0.0, -self._left / self._rate)
