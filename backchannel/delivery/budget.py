"""Budget: how many bytes each of many may have stored, by the second and in one go."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

from backchannel.delivery.pace import TokenBucket
from backchannel.errors import RateLimited, TooLarge

BURST_SECONDS = 5
"""Seconds of its rate that an owner who was silent may spend at once."""
MOST = 20_000
"""Budgets kept; the one that was not asked for longest goes first, and would be full again by then."""
OF_A_DUPLICATE = 1_024
"""Bytes that a repetition of what is stored is charged with: the log looks for it and keeps nothing."""
SETTING = "limits.agent_bytes_per_second"

Owner = tuple[str, str]
"""A group, and an agent in it."""


class ByteBudget:
    """Bytes by owner, over all that the owner does at once. Times are seconds of any steady clock.

    Args:
        rate: bytes a second that an owner gains, as it is in force now.
    """

    def __init__(self, rate: Callable[[], int], most: int = MOST) -> None:
        self._rate = rate
        self._most = most
        self._buckets: OrderedDict[Owner, TokenBucket] = OrderedDict()

    def charge(self, owner: Owner, size: int, now: float) -> None:
        """Take `size` bytes, or nothing.

        Raises:
            TooLarge: no waiting would help; it is more than anybody may spend at once.
            RateLimited: not now; `retry_after` says when.
        """
        burst = self._rate() * BURST_SECONDS
        if size > burst:
            raise TooLarge(
                f"It would take {size} bytes of the log, copies included; an agent may have {burst} stored"
                f" at once ({SETTING}). Say less, or name fewer agents."
            )
        if wait := self._of(owner).take(now, size):
            raise self._slow_down(owner, wait)

    def require(self, owner: Owner, now: float) -> None:
        """Let a command be decided whose sender is not in debt. Raises RateLimited."""
        if wait := self._of(owner).take(now, 0):
            raise self._slow_down(owner, wait, " Nothing was done; send it later, under a new message_id.")

    def spend(self, owner: Owner, size: int, now: float) -> None:
        """What was stored for an owner, known only afterwards. More than is left makes a debt."""
        self._of(owner).spend(now, size)

    def repeated(self, owner: Owner, size: int) -> None:
        """What was charged turned out to lie there already."""
        self._of(owner).give_back(max(size - OF_A_DUPLICATE, 0))

    def give_back(self, owner: Owner, size: int) -> None:
        """What was charged was not even tried."""
        self._of(owner).give_back(size)

    def _of(self, owner: Owner) -> TokenBucket:
        rate = self._rate()
        found = self._buckets.get(owner)
        if found is None:
            found = self._buckets[owner] = TokenBucket(rate, rate * BURST_SECONDS)
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(owner)
        found.tune(rate, rate * BURST_SECONDS)
        return found

    def _slow_down(self, owner: Owner, wait: float, more: str = "") -> RateLimited:
        problem = f"{owner[1]} has more than {self._rate()} bytes a second stored ({SETTING}).{more}"
        return RateLimited(problem, retry_after=math.ceil(wait * 1000) / 1000)
