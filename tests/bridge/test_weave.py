"""Weaving: rapid updates share a frame as long as a client may take it."""

from __future__ import annotations

from backchannel.delivery.coalesce import Strand
from backchannel.protocol.subject import InContext
from bridge.framing import frame
from bridge.ring import Event
from bridge.weave import MOST_BYTES, woven


def update(sequence: int, length: int) -> Event:
    body = b'{"content":"%s"}' % (b"x" * length)
    framed = frame(body)
    strand = Strand("main", "ada", "tls")
    return Event(sequence, InContext("main", "memory"), "*", 4, framed, len(framed) - len(body), strand)


def test_what_is_large_comes_by_itself_and_what_is_small_together() -> None:
    small, large = update(1, 10), update(3, MOST_BYTES)
    assert woven([small, update(2, 10)]).count(b"coalesced_update") == 1
    assert woven([large, large]) == large.frame * 2
    assert woven([small, large, small]) == small.frame + large.frame + small.frame
