"""Fragments of a WebSocket message, joined as they come."""

from __future__ import annotations

from websockets.frames import CONT, TEXT, Frame


class Fragments:
    """Puts messages together. That the order is right, and the whole not too big, was checked before.

    Empty fragments, of which the protocol allows any number, take no room.
    """

    __slots__ = ("_partial", "is_text")

    def __init__(self) -> None:
        self._partial: bytearray | None = None
        self.is_text = True

    def join(self, piece: Frame) -> bytes | None:
        """The whole message if this was its last piece."""
        if piece.opcode is not CONT:
            self.is_text = piece.opcode is TEXT
            if piece.fin:
                return bytes(piece.data)
            self._partial = bytearray()
        if self._partial is None:
            return None
        self._partial += piece.data
        if not piece.fin:
            return None
        whole, self._partial = bytes(self._partial), None
        return whole
