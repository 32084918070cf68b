"""History in pages: many records in one request, by batched direct get (ADR-31)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import pydantic_core

from backchannel.errors import BackchannelError, NotFound, Unavailable
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.head import read_head, status_of
from backchannel.jetstream.record import Record

TRIES = 3
QUIET = 4.0
"""Seconds without a further record after which a page is asked for again."""
MOST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Page:
    """Records in order.

    `done`: there was nothing more up to the end asked for. Everything up to `last_sequence_scanned` that the
    filter matches has been seen.
    """

    records: list[Record]
    last_sequence_scanned: int
    done: bool


async def page(
    connection: Connection,
    stream: str,
    after: int,
    *,
    limit: int = 500,
    filter: str = ">",
    until: int | None = None,
    max_bytes: int = MOST_BYTES,
) -> Page:
    """Records behind a position, up to and including `until`; fewer than `limit` when they are large.

    A follower may answer, up to some milliseconds behind the leader: for history, not for decisions.

    Raises:
        NotFound: there is no such stream, or it cannot be read in this way.
        Unavailable: the answer did not come whole.
    """
    if until is not None and after >= until:
        return Page([], after, True)
    for remaining in reversed(range(TRIES)):
        reading = _Reading(after, until)
        subject = connection.inbox(reading.arrived)
        wanted = {"seq": after + 1, "batch": limit, "max_bytes": max_bytes, "next_by_subj": filter}
        try:
            await connection.wait_up(QUIET)
            connection.emit(f"$JS.API.DIRECT.GET.{stream}", pydantic_core.to_json(wanted), reply=subject)
            return await reading.whole(stream)
        except Unavailable:
            if not remaining:
                raise
        finally:
            connection.close_inbox(subject)
    raise AssertionError("the loop returns or raises")


class _Reading:
    """The replies to one batched direct get."""

    def __init__(self, after: int, until: int | None) -> None:
        self._records: list[Record] = []
        self._until = until
        self._scanned = after
        self._beyond = False
        self._nothing_more = False
        self._fault: BackchannelError | None = None
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._over = asyncio.Event()

    def arrived(self, subject: bytes, reply: bytes, head: bytes, payload: bytes) -> None:
        self._heard = self._loop.time()
        headers = read_head(head) or {}
        match status_of(head):
            case 0:
                self._take(headers, payload, head)
            case 204:
                self._nothing_more = int(headers.get("Nats-Num-Pending", "0")) == 0
                self._over.set()
            case 404:
                self._nothing_more = True
                self._over.set()
            case 503:
                self._fault = Unavailable("The stream cannot be read now; try again.", retry_after=1.0)
                self._over.set()
            case status:
                self._fault = NotFound(f"The stream cannot be read in pages (status {status}).")
                self._over.set()

    async def whole(self, stream: str) -> Page:
        """Wait for the last reply. Raises Unavailable when nothing has come for a while."""
        while not self._over.is_set():
            rest = self._heard + QUIET - self._loop.time()
            if rest <= 0:
                raise Unavailable(f"The stream {stream} did not answer in time; try again.", retry_after=1.0)
            try:
                async with asyncio.timeout(rest):
                    await self._over.wait()
            except TimeoutError:
                continue
        if self._fault is not None:
            raise self._fault
        done = self._beyond or self._nothing_more
        scanned = self._until if done and self._until is not None else self._scanned
        return Page(self._records, scanned, done)

    def _take(self, headers: Mapping[str, str], payload: bytes, head: bytes) -> None:
        sequence = int(headers["Nats-Sequence"])
        if self._until is not None and sequence > self._until:
            self._beyond = True
            return
        self._scanned = sequence
        own = own_lines(head)
        self._records.append(
            Record(sequence, headers["Nats-Subject"], payload, own, headers["Nats-Time-Stamp"])
        )


_ADDED = (
    b"Nats-Stream:",
    b"Nats-Subject:",
    b"Nats-Sequence:",
    b"Nats-Time-Stamp:",
    b"Nats-Num-Pending:",
    b"Nats-Last-Sequence:",
    b"Nats-UpTo-Sequence:",
)


def own_lines(head: bytes) -> bytes:
    """The header block without what direct get adds to it; empty if that was all."""
    lines = [line for line in head.split(b"\r\n") if not line.startswith(_ADDED)]
    return b"\r\n".join(lines) if len(lines) > 3 else b""
