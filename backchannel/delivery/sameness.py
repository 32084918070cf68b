"""Sameness: whether somebody says once more what it said last, within a window in which that is no news."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

WINDOW = 30.0
"""Seconds."""

MOST_SENDERS = 10_000


class State(NamedTuple):
    """What a sender said last: its digest, when it was stored and where.

    `sure`: nothing newer of this sender was in the log when that was found out.
    """

    digest: str
    at: float
    sequence: int
    sure: bool = False


class Sameness:
    """The last state of each sender. One that was forgotten counts as never said, which loses nothing.

    Only what is the same as the *last* state repeats it: who goes from working to idle and back has three
    states, however fast.
    """

    __slots__ = ("_last", "_most")

    def __init__(self, most: int = MOST_SENDERS) -> None:
        self._last: OrderedDict[str, State] = OrderedDict()
        self._most = most

    def told(self, sender: str, state: State) -> None:
        """The log has this state; in whatever order one hears of it, the latest position counts."""
        known = self._last.get(sender)
        if known is not None and known.sequence >= state.sequence:
            if known.sequence == state.sequence and state.sure:
                self._last[sender] = known._replace(sure=True)
            return
        self._last[sender] = state
        self._last.move_to_end(sender)
        if len(self._last) > self._most:
            self._last.popitem(last=False)

    def forget(self, sender: str) -> None:
        """It is not known what it said last."""
        self._last.pop(sender, None)

    def repeated(self, sender: str, digest: str, now: float) -> State | None:
        """The state it repeats; None if this is news."""
        known = self._last.get(sender)
        if known is None or known.digest != digest or not 0 <= now - known.at < WINDOW:
            return None
        return known
