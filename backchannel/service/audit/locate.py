"""Where a record of the trail lies in the stream: by its position, in a few looks."""

from __future__ import annotations

from backchannel.domain.audit import Damaged, Link, read_link
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.page import page
from backchannel.jetstream.read import Record, describe, last
from backchannel.protocol.subject import AUDIT, audit_of

AHEAD = 16
"""Records read at once, so that one that is none does not hide those behind it."""


async def head(connection: Connection, group: str) -> Link | None:
    """The newest record of a group; None if there is none, or if it is none of ours."""
    record = await last(connection, AUDIT, audit_of(group))
    return link_of(record) if record is not None else None


async def locate(connection: Connection, group: str, position: int) -> tuple[int, Link | None]:
    """The place in the stream behind which everything after `position` lies, and the record at `position`.

    Positions rise with the places; so each look halves what is left.
    """
    facts = await describe(connection, AUDIT)
    low, high = facts.first, facts.last + 1
    while low < high:
        middle = (low + high) // 2
        found = await _from(connection, group, middle)
        if found is None or found[1].position >= position:
            high = middle
        else:
            low = found[0] + 1
    there = await _from(connection, group, low)
    if there is not None and there[1].position == position:
        return there
    return low - 1, None


async def _from(connection: Connection, group: str, sequence: int) -> tuple[int, Link] | None:
    """The first record of a group at or behind a place of the stream."""
    after = sequence - 1
    while True:
        part = await page(connection, AUDIT, after, limit=AHEAD, filter=audit_of(group))
        for record in part.records:
            if (link := link_of(record)) is not None:
                return record.sequence, link
        if part.done:
            return None
        after = part.last_sequence_scanned


def link_of(record: Record) -> Link | None:
    try:
        return read_link(record.payload)
    except Damaged:
        return None
