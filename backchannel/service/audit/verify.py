"""Verifying a group's trail: its chain, its seals, and its copies against each other, a page at a time."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from backchannel.domain.audit.check import Check, Genuine, Receipt
from backchannel.errors import NotFound
from backchannel.home.files import reason
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.page import page
from backchannel.jetstream.read import describe
from backchannel.jetstream.record import Record
from backchannel.protocol.subject import AUDIT, audit_of
from backchannel.service.audit.locate import head, link_of, locate
from backchannel.service.audit.segment import files_of, lines_of
from backchannel.service.audit.table import FILE, rows_of

PAGE = 500
UNPROTECTED = {
    "deny_delete": True, "deny_purge": True, "max_msgs": -1, "max_age": 0,
    "max_msgs_per_subject": -1, "retention": "limits", "discard": "new", "allow_rollup_hdrs": False,
    "allow_msg_ttl": False,
}  # fmt: skip
"""What keeps records in the stream. It may be full: then it takes nothing more, and loses nothing."""

Progress = Callable[[int], None]
"""Called with how many records of the first copy have been checked."""
ENDLESS = 2**62
GLANCE = 300
_POSITION = re.compile(rb'"position":(\d{1,15}),"previous":"[0-9a-f]{64}","source":"[^"]{0,64}","v":\d+\}$')


@dataclass(frozen=True, slots=True)
class Item:
    """One record as it lies in a copy. `row`: where the copy has it. `whole`: it has its end."""

    body: bytes
    where: str
    row: int | None = None
    whole: bool = True

    def place(self, expected: int) -> int:
        """The position it seems to have, at a glance; the one that is expected if that cannot be seen."""
        if self.row is not None:
            return self.row
        found = _POSITION.search(self.body[-GLANCE:])
        return int(found[1]) if found else expected


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification found; `until` is the last position it was about."""

    group: str
    until: int
    receipts: Sequence[Receipt]

    @property
    def intact(self) -> bool:
        return not any(receipt.problem_count for receipt in self.receipts)

    def first(self) -> dict[str, Any] | None:
        """The first divergence: where the copies, or a copy and its chain, part."""
        found = [
            (problem.position, receipt.copy, problem)
            for receipt in self.receipts
            for problem in receipt.problems
        ]
        if not found:
            return None
        position, copy, problem = min(found, key=lambda one: one[0])
        return {
            "copy": copy,
            "position": position,
            "kind": problem.kind,
            "where": problem.where,
            "detail": problem.detail,
        }

    def shown(self) -> dict[str, Any]:
        copies = [receipt.shown() for receipt in self.receipts]
        return {
            "group": self.group,
            "until": self.until,
            "intact": self.intact,
            "first_divergence": self.first(),
            "copies": copies,
        }


class _Beside:
    """A copy that is read along with the first one."""

    def __init__(self, check: Check, items: Iterator[Item]) -> None:
        self.check = check
        self._items = items
        self._held: Item | None = None
        self._over = False

    def compare(self, window: Mapping[int, bytes], end: int) -> None:
        """Take what lies up to a position, and compare it with what the first copy has there."""
        receipt = self.check.receipt
        while (item := self._peek()) is not None and item.place(self.check.expected) <= end:
            self._held = None
            if not item.whole:
                receipt.blame("truncated", self.check.expected, item.where, "the last line is cut off")
                self._over = True
                return
            position = self.check.take(item.body, item.where, item.row)
            there = window.get(position)
            if there is not None and there != item.body:
                receipt.blame(
                    "differs",
                    position,
                    item.where,
                    f"the record {position} differs from that of the first copy",
                )

    def beyond(self) -> int | None:
        """The position of the first record that has not been taken."""
        item = self._peek()
        return item.place(self.check.expected) if item is not None and item.whole else None

    def rest(self) -> Iterator[Item]:
        """All that has not been taken. What is cut off counts as damaged."""
        while (item := self._peek()) is not None:
            self._held = None
            yield item if item.whole else Item(item.body + b" (cut off)", item.where)

    def _peek(self) -> Item | None:
        if self._held is None and not self._over:
            try:
                self._held = next(self._items, None)
            except (OSError, sqlite3.Error) as problem:
                detail = f"it cannot be read: {reason(problem)}"
                self.check.receipt.blame("unreadable", self.check.expected, "in its file", detail)
            self._over = self._held is None
        return self._held


class Verification:
    """Of one group. The first copy is the primary if there is a connection, else the first on this machine.

    Args:
        folder: with the copies on this machine, or None.
        genuine: checks signatures; None checks none.
        anchors: hashes by position that lie outside the platform.
    """

    def __init__(
        self,
        connection: Connection | None,
        folder: Path | None,
        group: str,
        genuine: Genuine | None = None,
        anchors: Mapping[int, str] | None = None,
    ) -> None:
        self._connection = connection
        self._group = group
        self._genuine = genuine
        self._anchors = anchors
        self._beside = [_Beside(self._check(name), items) for name, items in _local(folder, group)]

    async def run(self, progress: Progress = lambda done: None) -> Verdict:
        """Check everything there is now.

        Raises:
            Unavailable: the primary cannot be read.
            NotFound: there is no copy at all.
        """
        if self._connection is None:
            return await self._offline(progress)
        newest = await head(self._connection, self._group)
        first = self._check("primary")
        await _require_protected(self._connection, first.receipt)
        until = newest.position if newest else 0
        async for items in _pages(self._connection, self._group, until):
            self._take(first, items)
            progress(first.receipt.records)
        for beside in self._beside:
            beside.compare({}, until)
            await self._require_in_primary(self._connection, beside, first.receipt)
        return self._verdict(first, until)

    async def _offline(self, progress: Progress) -> Verdict:
        """Without the primary, the first copy that is here stands for it."""
        if not self._beside:
            raise NotFound("There is no copy of the audit trail here, and no primary is asked.")
        first = self._beside.pop(0)
        while items := list(islice(first.rest(), PAGE)):
            self._take(first.check, items)
            progress(first.check.receipt.records)
        for beside in self._beside:
            beside.compare({}, ENDLESS)
        until = max(one.check.expected for one in (first, *self._beside)) - 1
        return self._verdict(first.check, until)

    def _check(self, copy: str) -> Check:
        return Check(copy, self._group, self._genuine, self._anchors)

    def _take(self, first: Check, items: Sequence[Item]) -> None:
        """A page of the first copy, and what the others have up to its end."""
        window = {first.take(item.body, item.where, item.row): item.body for item in items}
        for beside in self._beside:
            beside.compare(window, first.expected - 1)

    async def _require_in_primary(self, connection: Connection, beside: _Beside, primary: Receipt) -> None:
        """What a copy has, the primary had: if it has not any more, it was cut off or made anew."""
        position = beside.beyond()
        if position is None:
            return
        _, there = await locate(connection, self._group, position)
        if there is None:
            copy = beside.check.receipt.copy
            detail = f"the record {position}, which {copy} has, is not there any more"
            primary.blame("truncated", position, "at the end", detail)

    def _verdict(self, first: Check, until: int) -> Verdict:
        checks = [first, *(beside.check for beside in self._beside)]
        return Verdict(self._group, until, [check.finish(until) for check in checks])


async def _require_protected(connection: Connection, primary: Receipt) -> None:
    """The stream must still be one from which nothing can be taken."""
    config = (await describe(connection, AUDIT)).config
    for setting, wanted in UNPROTECTED.items():
        found = config.get(setting, type(wanted)())
        if found != wanted:
            detail = f"{AUDIT} has {setting} {found!r} instead of {wanted!r}, so records can be lost"
            primary.blame("unprotected", 0, "in the stream's settings", detail)


async def _pages(connection: Connection, group: str, until: int) -> AsyncIterator[list[Item]]:
    """The primary, a page at a time, up to a position."""
    after, done = 0, until == 0
    while not done:
        part = await page(connection, AUDIT, after, limit=PAGE, filter=audit_of(group))
        items = [_item(record) for record in part.records]
        kept = [item for item in items if item.place(0) <= until]
        if kept:
            yield kept
        after = part.last_sequence_scanned
        done = part.done or len(kept) < len(items)


def _item(record: Record) -> Item:
    """A message of the stream. Its subject and id must be those of its record, or it is none."""
    where, body = f"sequence {record.sequence}", record.payload
    link = link_of(record)
    named = (record.headers or {}).get("Nats-Msg-Id")
    if link is not None and (link.subject != record.subject or link.id != named):
        return Item(body + b" (on another subject, or under another id)", where)
    return Item(body, where)


def _local(folder: Path | None, group: str) -> list[tuple[str, Iterator[Item]]]:
    """The copies on this machine that are there at all."""
    if folder is None or not folder.exists():
        return []
    files, table = folder / "segments" / group, folder / FILE
    return [("segments", _lines(files)), ("sqlite", _rows(table, group))]


def _lines(folder: Path) -> Iterator[Item]:
    for path in files_of(folder):
        for number, (line, whole) in enumerate(lines_of(path), start=1):
            yield Item(line, f"{path.name}, line {number}", whole=whole)


def _rows(path: Path, group: str) -> Iterator[Item]:
    for position, body in rows_of(path, group):
        yield Item(body, f"row {position}", position)
