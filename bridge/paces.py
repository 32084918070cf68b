"""Paces: how fast each agent may send over all its connections, and each address may come in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from backchannel.delivery.budget import ByteBudget
from backchannel.delivery.pace import TokenBucket
from backchannel.domain.settings import Settings
from backchannel.errors import RateLimited

MOST = 20_000
"""Buckets kept; the one that was not asked for longest goes first, and would be full again by then."""

K = TypeVar("K")


class Paces(Generic[K]):
    """A bucket for each of many, kept while they come and go: leaving and coming back fills none."""

    def __init__(self, rate: float, burst_seconds: float, most: int = MOST) -> None:
        self._rate = rate
        self._burst_seconds = burst_seconds
        self._most = most
        self._buckets: OrderedDict[K, TokenBucket] = OrderedDict()

    def of(self, one: K) -> TokenBucket:
        found = self._buckets.get(one)
        if found is None:
            found = self._buckets[one] = TokenBucket(self._rate, self._rate * self._burst_seconds)
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(one)
        return found

    def tune(self, rate: float) -> None:
        """Let all of them go at another rate from now on."""
        self._rate = rate
        for bucket in self._buckets.values():
            bucket.tune(rate, rate * self._burst_seconds)


class Pacing:
    """How fast agents may send, by the settings in force; `fixed` messages a second, if that is not 0.

    Args:
        fixed_bytes: bytes a second that one agent may have stored, if that is not 0.
    """

    def __init__(self, settings: Callable[[], Settings], fixed: int, fixed_bytes: int = 0) -> None:
        self._settings = settings
        self._fixed = fixed
        self._known = settings().limits
        self._agents: Paces[tuple[str, str]] = Paces(self.together, burst_seconds=5)
        self.budget = ByteBudget(lambda: fixed_bytes or settings().limits.agent_bytes_per_second)

    @property
    def rate(self) -> int:
        """Messages a second that one connection may send."""
        return self._fixed or self._settings().limits.messages_per_second

    @property
    def together(self) -> int:
        """Messages a second that one agent may send."""
        return max(self._settings().limits.agent_messages_per_second, self.rate)

    def of(self, owner: tuple[str, str]) -> TokenBucket:
        """What all connections of one agent share."""
        return self._agents.of(owner)

    def require(self, owner: tuple[str, str], now: float, size: int = 0) -> None:
        """Let one message of an agent pass that came without a connection.

        Args:
            size: bytes of it; they are charged to the agent's budget.

        Raises:
            RateLimited: too many messages, or bytes; `retry_after` says when.
            TooLarge: more bytes than anybody may send at once.
        """
        if wait := self.of(owner).take(now):
            problem = f"{owner[1]} sends more than {self.together} messages a second."
            raise RateLimited(problem, retry_after=round(wait, 3))
        if size:
            self.budget.charge(owner, size, now)

    def changed(self) -> bool:
        """Whether another limit is in force than at the last call; those who are here are to be told."""
        limits, known = self._settings().limits, self._known
        self._known = limits
        if limits == known:
            return False
        self._agents.tune(self.together)
        return True
