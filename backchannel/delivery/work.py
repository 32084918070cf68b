"""Work: what is asked of the loop of a bridge, in bytes, whatever it is that costs: bytes, frames or time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from backchannel.delivery.effect import (
    Ask,
    Authenticate,
    Begin,
    Dump,
    Effect,
    Part,
    Renewal,
    Say,
    Tune,
)
from backchannel.delivery.pace import Account
from backchannel.protocol.frame import CloseCode

MESSAGE: Final = 16 << 10
"""An agent may ask for this much a second, over all its connections to a bridge, for each message a second
that it may send: under 5 MiB as it is set up, and twice that at once."""

USUAL: Final = 300
"""Messages a second until an agent's pace is known, and if it is slower."""

MOST_AT_ONCE: Final = 2.0
"""Seconds of it that may be asked for at once."""

STRANGER_PER_SECOND: Final = 64 << 10
STRANGER_BURST: Final = 128 << 10
"""Of one connection that has not said yet whose it is."""

FRAME: Final = 1 << 10
"""A frame, whatever is in it: about 4 000 a second."""

SECOND: Final = 32 << 20
"""A second of the loop's time: what is slow though it is small pays by the clock, an eighth of the loop."""

ERROR: Final = 4 << 10
_COSTS: Final[dict[type[Effect], int]] = {
    Begin: 128 << 10,
    Authenticate: 128 << 10,
    Ask: 32 << 10,
    Renewal: 64 << 10,
    Dump: 64 << 10,
    Tune: 8 << 10,
}
"""What follows from a message, beside reading it: hellos and renewals look into buckets, queries into the
log."""

RATE, TOO_LARGE = CloseCode.RATE, CloseCode.TOO_LARGE
QUIET_PER_SECOND: Final = 200
QUIET_BURST: Final = 8_000
"""Frames that say nothing (pings, pongs, empty pieces) and come before a connection is closed for it."""

MOST_PIECES: Final = 4_096
"""Fragments of one message."""


def of_agent() -> Account:
    return Account(USUAL * MESSAGE, USUAL * MESSAGE * MOST_AT_ONCE)


def tune_agent(account: Account, messages_per_second: float) -> None:
    """From now on an agent may send at another pace. Whoever may say little must still be able to come in."""
    rate = max(messages_per_second, USUAL) * MESSAGE
    account.tune(rate, rate * MOST_AT_ONCE)


def of_stranger() -> Account:
    return Account(STRANGER_PER_SECOND, STRANGER_BURST)


def cost_of_frame(on_the_line: int, inflated_by: int, seconds: float, *, whole: bool) -> float:
    """Of reading a frame, or a piece of one, and of whatever was done about it at once.

    Args:
        on_the_line: bytes that came in.
        inflated_by: bytes that there were in it beyond those of the line.
        seconds: of the processor's time.
        whole: whether the frame is complete.
    """
    return (FRAME if whole else 0) + on_the_line + max(0, inflated_by) + seconds * SECOND


def cost_of(effects: Iterable[Effect]) -> int:
    """Of what a message led to."""
    return sum(_cost(effect) for effect in effects)


def _cost(effect: Effect) -> int:
    match effect:
        case Say(frame):
            return ERROR if frame["type"] == "error" else 0
        case Part():
            return 0
    return _COSTS.get(type(effect), 0)
