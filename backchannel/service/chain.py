"""The chain of one group: what waits is linked and committed together, behind a fence (group commit)."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from backchannel.domain.audit import GENESIS, Damaged, Link, chained, read_link
from backchannel.domain.audit.deed import Seal
from backchannel.errors import BackchannelError, Unavailable
from backchannel.jetstream.answer import AGAIN, APPLIED, IN_FLIGHT, STALE
from backchannel.jetstream.batch import attempt
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.entry import MSG_ID, Entry, Fence, Stored, fenced
from backchannel.jetstream.read import Record, following, last, read_one
from backchannel.logger import Logger
from backchannel.protocol.subject import AUDIT

log = Logger(__name__)

MOST = 500
"""Records in one commit; the server takes a thousand."""
MOST_BYTES = 1 << 20
ANSWER = 5.0
LINGER = 0.02
"""Seconds for which records that nobody waits for let others join them."""
PAUSE = 0.002
LONGEST_PAUSE = 0.25


class Written(NamedTuple):
    """Where a record lies: its position in the chain of its group, its place in the stream, its hash."""

    position: int
    sequence: int
    hash: str


class _Head(NamedTuple):
    position: int
    sequence: int
    hash: str


@dataclass(eq=False, slots=True)
class Waiting:
    """A record that has still to find its place. Without `done`, nobody waits for it."""

    id: str
    subject: str
    fields: Mapping[str, Any]
    seal: Seal | None
    size: int
    done: asyncio.Future[Written] | None

    def linked(self, head: _Head) -> Link:
        fields = self.fields
        if self.seal is not None:
            more = self.seal(head.position, head.hash)
            fields = {**fields, "facts": {**fields["facts"], **more}}
        return chained(fields, head.position + 1, head.hash)


class Chain:
    """Appends to the chain of one group. Any number of processes may: the fence lets one of them be next."""

    def __init__(self, connection: Connection, group: str) -> None:
        self._connection = connection
        self._subjects = f"bc.{group}.audit.>"
        self._group = group
        self._queue: deque[Waiting] = deque()
        self._head: _Head | None = None
        self._doubt: int | None = None  # from where a try of ours whose answer was lost may lie
        self._singly = 0
        self._urgent = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self.written = 0
        self.conflicts = 0
        self.refused = 0
        self.failing: str | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, waiting: Waiting) -> None:
        self._queue.append(waiting)
        if waiting.done is not None:
            self._urgent.set()
        if self._work is None or self._work.done():
            self._work = self._loop.create_task(self._drain(), name=f"audit trail of {self._group}")

    async def settled(self) -> None:
        """Wait until nothing waits any more."""
        while self._work is not None and not self._work.done():
            await asyncio.wait([self._work])

    async def close(self) -> None:
        """Give up what still waits."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        while self._queue:
            self._finish(self._queue.popleft(), Unavailable("The process ends."))

    async def _drain(self) -> None:
        conflicts = 0
        while self._queue:
            if not self._urgent.is_set():
                await self._linger()
            batch = self._next()
            if not batch:
                continue
            try:
                settled = await self._round(batch)
            except BackchannelError as error:
                self._tell_failing(error.message)
                settled = False
            except Exception:
                log.exception("audit_round_failed", group=self._group)
                settled = False
                self._head = None
            conflicts = 0 if settled else conflicts + 1
            if not settled:
                await asyncio.sleep(random.uniform(0.2, 1) * min(PAUSE * 2**conflicts, LONGEST_PAUSE))

    async def _linger(self) -> None:
        try:
            async with asyncio.timeout(LINGER):
                await self._urgent.wait()
        except TimeoutError:
            return

    def _next(self) -> list[Waiting]:
        """What goes into the next commit, in order. Whoever does not wait any more has been told no."""
        if self._urgent.is_set():
            for one in [one for one in self._queue if one.done is not None and one.done.done()]:
                self._queue.remove(one)
        size, batch = 0, list[Waiting]()
        for one in islice(self._queue, 1 if self._singly else MOST):
            size += one.size
            if batch and size > MOST_BYTES:
                break
            batch.append(one)
        if not any(one.done is not None for one in self._queue):
            self._urgent.clear()
        return batch

    async def _round(self, batch: list[Waiting]) -> bool:
        """One try; whether anything came of it."""
        head = self._head or await self._read_head()
        links, entries = _linked(batch, head)
        carried = fenced(entries, [Fence(self._subjects, head.sequence)])
        outcome = await attempt(self._connection, carried, ANSWER)
        match outcome:
            case Stored(duplicate=True, sequence=sequence):
                await self._was_there(batch[0], sequence)
            case Stored(sequence=sequence):
                self._take(batch, links, sequence)
            case int() if outcome == STALE and self._doubt is None:
                self.conflicts += 1
                self._head = None
                return False
            case int() if outcome in (STALE, APPLIED, IN_FLIGHT, *AGAIN):
                return await self._look(batch, head, outcome)
            case Unavailable():
                self._doubt = head.sequence if self._doubt is None else self._doubt
                self._head = None
                raise outcome
            case BackchannelError():
                self._head = None
                self._cannot(batch, outcome)
        return True

    def _take(self, batch: Sequence[Waiting], links: Sequence[Link], final: int) -> None:
        """All of it is stored, in one piece that ends at this place of the stream."""
        first = final - len(links) + 1
        for place, (one, link) in enumerate(zip(batch, links, strict=True), start=first):
            self._settle(one, Written(link.position, place, link.hash))
        self._head = _Head(links[-1].position, final, links[-1].hash)
        self._doubt, self.failing = None, None
        self._singly = max(self._singly - len(links), 0)

    async def _look(self, batch: Sequence[Waiting], head: _Head, outcome: int) -> bool:
        """An earlier try may have been stored, or one of the records by others: read what lies there."""
        doubt = head.sequence if self._doubt is None else min(self._doubt, head.sequence)
        self._doubt, self._head = doubt, None
        wanted = {one.id: one for one in batch}
        after, found = doubt, 0
        while records := await following(self._connection, AUDIT, self._subjects, after, MOST):
            for record in records:
                link = _link_of(record)
                if link is not None and (one := wanted.pop(link.id, None)) is not None:
                    self._settle(one, Written(link.position, record.sequence, link.hash))
                    found += 1
            after = records[-1].sequence
        if outcome == APPLIED and not found:
            # One of them was written long before, and only the server knows which: ask for each alone.
            self._singly = len(batch)
        if outcome in (STALE, APPLIED):
            self._doubt = None
        self.conflicts += 1
        return found > 0

    async def _was_there(self, one: Waiting, sequence: int) -> None:
        record = await read_one(self._connection, AUDIT, sequence)
        link = _link_of(record) if record is not None else None
        written = Written(link.position, sequence, link.hash) if link else Written(0, sequence, "")
        self._settle(one, written)
        self._singly = max(self._singly - 1, 0)

    def _cannot(self, batch: Sequence[Waiting], error: BackchannelError) -> None:
        """The server will not have it. Which of them it is about shows when each goes alone."""
        if len(batch) > 1:
            self._singly = len(batch)
            return
        self._singly = max(self._singly - 1, 0)
        log.error("audit_record_refused", group=self._group, subject=batch[0].subject, error=error.message)
        self.refused += 1
        self._queue.remove(batch[0])
        self._finish(batch[0], error)

    async def _read_head(self) -> _Head:
        record = await last(self._connection, AUDIT, self._subjects)
        if record is None:
            return _Head(0, 0, GENESIS)
        link = _link_of(record)
        if link is None:
            # Whatever it is, the chain goes on behind it; a check will name this place.
            return await self._head_before(record)
        return _Head(link.position, record.sequence, link.hash)

    async def _head_before(self, foreign: Record) -> _Head:
        """The last record of ours, when something lies behind it that is none."""
        log.error("audit_head_unreadable", group=self._group, sequence=foreign.sequence)
        for sequence in range(foreign.sequence - 1, 0, -1):
            record = await read_one(self._connection, AUDIT, sequence)
            if record is None or not record.subject.startswith(self._subjects[:-1]):
                continue
            if (link := _link_of(record)) is not None:
                return _Head(link.position, foreign.sequence, link.hash)
        return _Head(0, foreign.sequence, GENESIS)

    def _settle(self, one: Waiting, written: Written) -> None:
        if one in self._queue:
            self._queue.remove(one)
        self.written += 1
        if one.done is not None and not one.done.done():
            one.done.set_result(written)

    @staticmethod
    def _finish(one: Waiting, error: BackchannelError) -> None:
        if one.done is not None and not one.done.done():
            one.done.set_exception(error)

    def _tell_failing(self, reason: str) -> None:
        if self.failing is None:
            log.warning("audit_trail_waits", group=self._group, waiting=len(self._queue), error=reason)
        self.failing = reason


def _linked(batch: Sequence[Waiting], head: _Head) -> tuple[list[Link], list[Entry]]:
    links, entries = list[Link](), list[Entry]()
    for one in batch:
        link = one.linked(head)
        head = _Head(link.position, 0, link.hash)
        links.append(link)
        entries.append(Entry(one.subject, link.body, {MSG_ID: one.id}))
    return links, entries


def _link_of(record: Record) -> Link | None:
    try:
        return read_link(record.payload)
    except Damaged:
        return None
