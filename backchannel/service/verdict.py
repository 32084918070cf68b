"""What becomes of a command: settled, tried again, or set aside."""

from __future__ import annotations

from dataclasses import dataclass

from backchannel.errors import (
    BackchannelError,
    Conflict,
    Degraded,
    QueueFull,
    RateLimited,
    Refused,
    Unavailable,
)

TRIES = 3
"""Attempts before a fault of ours is set aside. The commands behind it in its lane wait that long."""

FAULT_DELAYS = (0.1, 0.5)
DELAYS = (0.2, 1.0, 5.0, 15.0)


@dataclass(frozen=True, slots=True)
class Tell:
    """Settled: the sender is told no, and why."""

    error: BackchannelError


@dataclass(frozen=True, slots=True)
class Retry:
    """It may work later; ``delay`` in seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class SetAside:
    """It failed every time; a person must look at it."""

    reason: str


Verdict = Tell | Retry | SetAside


def verdict_on(error: Exception, attempt: int) -> Verdict:
    """What an error at the n-th attempt (from 1) means.

    An unreachable log is nobody's fault and is waited out without end. A fault of ours is tried a few times,
    in case it was the moment, and then set aside.
    """
    match error:
        case Refused() | Conflict() | RateLimited():
            return Tell(error)
        case Unavailable() | QueueFull() | Degraded():
            return Retry(DELAYS[min(attempt, len(DELAYS)) - 1])
    if attempt < TRIES:
        return Retry(FAULT_DELAYS[attempt - 1])
    return SetAside(f"{type(error).__name__} after {attempt} attempts")
