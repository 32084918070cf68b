"""Acknowledgement: how far a client has everything, never further than it was given."""

from __future__ import annotations

from collections.abc import Iterable


class Acknowledgement:
    """The lowest contiguous position a client acknowledged. It only rises."""

    __slots__ = ("_position",)

    def __init__(self, position: int = 0) -> None:
        self._position = position

    @property
    def position(self) -> int:
        return self._position

    def acknowledge(self, sequence: int, contiguous: int) -> bool:
        """Note that the client has all up to `sequence`; whether that is news.

        Args:
            contiguous: the position up to which it was really given everything. What lies beyond is not
                believed: a message that overtook others says nothing about those.
        """
        reached = min(sequence, contiguous)
        if reached <= self._position:
            return False
        self._position = reached
        return True


MOST_NAMED = 512
"""Single messages of which it is known that a client has them, beside its position."""


def named(known: tuple[str, ...], more: Iterable[str]) -> tuple[str, ...]:
    """With what a client names as received; the newest stay."""
    kept = dict.fromkeys(known)
    for name in more:
        kept.pop(name, None)
        kept[name] = None
    return tuple(kept)[-MOST_NAMED:]


class Ahead:
    """What was sent before something older, and how far everything had been sent by then.

    A client that acknowledges such an event has everything up to where it stood when that was sent, and
    maybe no more: the older events may still be on their way.
    """

    __slots__ = ("_most", "_stood", "_unsure")

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._stood: dict[int, int] = {}
        self._unsure = 0

    def note(self, sequence: int, contiguous: int) -> None:
        """`sequence` is sent now, while everything only up to `contiguous` has been."""
        if contiguous >= sequence - 1:
            return
        if len(self._stood) >= self._most:
            self._unsure = max(self._unsure, *self._stood)
            self._stood.clear()
        self._stood[sequence] = contiguous

    def surely(self, sequence: int) -> int:
        """How far whoever has received `sequence` surely has everything."""
        if sequence in self._stood:
            return self._stood[sequence]
        return sequence if sequence > self._unsure else 0

    def forget(self, position: int) -> None:
        """Everything up to `position` has been acknowledged."""
        for sequence in [known for known in self._stood if known <= position]:
            del self._stood[sequence]
