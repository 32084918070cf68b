"""Deflate: large frames made smaller for clients that offered it, each once for all of them (RFC 7692)."""

from __future__ import annotations

import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator

from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory

from bridge.framing import frame
from bridge.meter import Count

OFFER = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)
"""No context is kept between messages in either direction: nothing to remember for an idle connection, and
one compressed frame is good for everybody."""

SMALLEST = 1024
"""Bytes from which a frame is worth the trouble."""

WORTH = 0.9
"""What must be left of a frame at most; else it is sent as it is."""

LEVEL = 1
KEPT = 64
KEPT_BYTES = 4 << 20
SHARE = 0.1
"""Of the loop's time that may be spent on this; past it frames go out as they are, so that nobody waits."""

DEBT = 0.05
"""Seconds of work that may be run up at once."""

_EMPTY_BLOCK = b"\x00\x00\xff\xff"
_COMPRESSED = 0x40


class Deflate:
    """What the connections of one process share.

    Args:
        saved: counts the bytes that were not sent.
    """

    def __init__(self, saved: Count, clock: Callable[[], float] = time.perf_counter) -> None:
        self._saved = saved
        self._clock = clock
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        self._length = 0
        self._debt = 0.0
        self._looked = clock()

    def alone(self, body: bytes) -> bytes:
        """One message for one connection, framed."""
        framed = frame(body)
        return framed if len(body) < SMALLEST else self._smaller(framed, body)

    def shared(self, frames: bytes) -> bytes:
        """Ready frames that others are sent too; what became of them is remembered for a while."""
        if len(frames) < SMALLEST:
            return frames
        found = self._known.get(frames)
        if found is None:
            found = b"".join([self._smaller(whole, body) for whole, body in taken_apart(frames)])
            self._remember(frames, found)
        self._saved.inc(len(frames) - len(found))
        return found

    def _smaller(self, framed: bytes, body: bytes) -> bytes:
        if len(body) < SMALLEST or not self._may():
            return framed
        began = self._clock()
        compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        packed = (compressor.compress(body) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_EMPTY_BLOCK)
        self._debt += self._clock() - began
        if len(packed) > WORTH * len(body):
            return framed
        found = frame(packed)
        return bytes((found[0] | _COMPRESSED,)) + found[1:]

    def _may(self) -> bool:
        """Whether there is time for it."""
        now = self._clock()
        self._debt = max(0.0, self._debt - SHARE * (now - self._looked))
        self._looked = now
        return self._debt < DEBT

    def _remember(self, frames: bytes, found: bytes) -> None:
        self._known[frames] = found
        self._length += len(frames) + len(found)
        while len(self._known) > KEPT or (self._length > KEPT_BYTES and self._known):
            for piece in self._known.popitem(last=False):
                self._length -= len(piece)


def takes_deflated(extensions: list[Extension]) -> bool:
    """Whether a connection can be sent what everybody is sent: its window must be as large as ours."""
    return any(
        isinstance(one, PerMessageDeflate) and one.local_max_window_bits == zlib.MAX_WBITS
        for one in extensions
    )


def taken_apart(frames: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Unmasked frames one by one: each whole, and its body."""
    place = 0
    while place < len(frames):
        size, start = frames[place + 1], place + 2
        if size == 126:
            size, start = int.from_bytes(frames[start : start + 2]), start + 2
        elif size == 127:
            size, start = int.from_bytes(frames[start : start + 8]), start + 8
        yield frames[place : start + size], frames[start : start + size]
        place = start + size
