"""Framing: a body becomes one WebSocket text frame, as a server sends it."""

from __future__ import annotations

from struct import Struct

_TEXT_AND_LAST = 0x81
MASKED = 0x80
"""The bit of a head that says that a mask follows."""

_SHORT = Struct("!BB")
_MEDIUM = Struct("!BBH")
_LONG = Struct("!BBQ")


def frame(body: bytes) -> bytes:
    """One whole, unmasked text frame (RFC 6455, 5.2) around ``body``, which must be UTF-8.

    Made once for each event and shared by every connection that hears it.
    """
    size = len(body)
    if size < 126:
        return _SHORT.pack(_TEXT_AND_LAST, size) + body
    if size < 65_536:
        return _MEDIUM.pack(_TEXT_AND_LAST, 126, size) + body
    return _LONG.pack(_TEXT_AND_LAST, 127, size) + body
