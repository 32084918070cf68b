"""Acknowledgement: how far a client has everything, never further than it was given."""

from __future__ import annotations


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
