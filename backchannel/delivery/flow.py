"""Flow: how much one agent may send at the native doors, and when it floods them. Counted before reading."""

from __future__ import annotations

from dataclasses import dataclass, field

from backchannel.delivery.pace import TokenBucket

BURST_SECONDS = 5.0
ACKS_PER_SECOND = 5_000.0
"""A reader that catches up sends one for each message, and has a thousand unacknowledged at most."""

FLOOD_MESSAGES, FORGOTTEN_MESSAGES = 3_000.0, 500.0
FLOOD_BYTES, FORGOTTEN_BYTES = float(16 << 20), float(2 << 20)
"""So much may be refused at once, and so much of it is forgotten a second: whoever goes on so far beyond what
it was told does not listen. A number within one second would not do: a busy machine looks at fewer."""

FIRST_LOCKOUT, LONGEST_LOCKOUT = 10.0, 300.0
FORGIVEN = 600.0
"""Seconds without a flood after which the next one counts as the first."""


@dataclass(slots=True)
class Flow:
    """One agent's, over all its native connections. All times are seconds of one monotonic clock.

    Args:
        messages: a second; `size` is bytes a second. Both may be sent for BURST_SECONDS at once.
    """

    messages: TokenBucket
    acks: TokenBucket
    size: TokenBucket
    largest: float
    refused: float = 0.0
    refused_bytes: float = 0.0
    floods: int = 0
    _refused_at: float = field(default=0.0)
    _flooded: float = field(default=float("-inf"))

    @classmethod
    def of(cls, messages: float, size: float) -> Flow:
        return cls(
            TokenBucket(messages, messages * BURST_SECONDS),
            TokenBucket(ACKS_PER_SECOND, ACKS_PER_SECOND),
            TokenBucket(size, size * BURST_SECONDS),
            size * BURST_SECONDS,
        )

    def tune(self, messages: float, size: float) -> None:
        """Other limits count from now on."""
        self.messages.tune(messages, messages * BURST_SECONDS)
        self.size.tune(size, size * BURST_SECONDS)
        self.largest = size * BURST_SECONDS

    def refuse(self, size: int, now: float) -> None:
        """Something of this many bytes was refused."""
        passed, self._refused_at = now - self._refused_at, now
        self.refused = max(0.0, self.refused - passed * FORGOTTEN_MESSAGES) + 1
        self.refused_bytes = max(0.0, self.refused_bytes - passed * FORGOTTEN_BYTES) + size

    @property
    def floods_now(self) -> bool:
        return self.refused > FLOOD_MESSAGES or self.refused_bytes > FLOOD_BYTES

    def flood(self, now: float) -> float:
        """It floods: for how many seconds it is to be kept out, longer each time."""
        self.floods = self.floods + 1 if now - self._flooded < FORGIVEN else 1
        self._flooded = now
        self.refused = self.refused_bytes = 0.0
        return float(min(FIRST_LOCKOUT * 2 ** (self.floods - 1), LONGEST_LOCKOUT))
