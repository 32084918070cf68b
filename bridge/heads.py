"""Heads: where one WebSocket frame ends in what comes in, before anything of it is parsed."""

from __future__ import annotations

from bridge.framing import MASKED


class Heads:
    """Cuts a stream of bytes between its frames (RFC 6455, 5.2), so that each is parsed by itself.

    It judges nothing: every byte goes on in its order, and what is no frame is refused by the parser.
    """

    __slots__ = ("_head", "_left", "opcode", "payload", "whole")

    def __init__(self) -> None:
        self._head = b""
        self._left = -1  # of the frame's payload; below zero while its head is not complete
        self.payload = 0
        self.opcode = 0
        self.whole = False

    def end(self, data: bytes, start: int) -> int:
        """Up to where in `data` the frame goes that begins, or goes on, at `start`; then `whole` says whether
        that is all of it."""
        if self._left < 0:
            start = self._read_head(data, start)
        if self._left < 0:
            self.whole = False
            return start
        taken = min(self._left, len(data) - start)
        self._left -= taken
        self.whole = not self._left
        if self.whole:
            self._left = -1
        return start + taken

    def _read_head(self, data: bytes, start: int) -> int:
        head = self._head
        while (missing := _length_of(head) - len(head)) > 0 and start < len(data):
            piece = data[start : start + missing]
            head, start = head + piece, start + len(piece)
        if missing > 0:
            self._head = head
        else:
            self._head, self.opcode = b"", head[0] & 0x0F
            self._left = self.payload = _payload_of(head)
        return start


def _length_of(head: bytes) -> int:
    """Bytes that a head has in all, as far as can be told from its beginning."""
    if len(head) < 2:
        return 2
    return 2 + {126: 2, 127: 8}.get(head[1] & 0x7F, 0) + (4 if head[1] & MASKED else 0)


def _payload_of(head: bytes) -> int:
    match head[1] & 0x7F:
        case 126:
            return int.from_bytes(head[2:4])
        case 127:
            return int.from_bytes(head[2:10])
        case size:
            return size
