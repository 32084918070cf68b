"""Copying: one copy of one group's trail follows the primary, through full disks and outages."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from backchannel.domain.audit import GENESIS, Damaged, Link, read_link
from backchannel.errors import BackchannelError
from backchannel.home.files import reason
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.read import Record
from backchannel.jetstream.walk import Walk
from backchannel.logger import Logger
from backchannel.protocol.subject import AUDIT, audit_of
from backchannel.service.audit.locate import head, locate

log = Logger(__name__)
PAUSE = 0.25
LONGEST_PAUSE = 5.0
MOST_FAULTS = 20


class Copy(Protocol):
    """What keeps records; each call may block, and is made in a thread of its own."""

    name: str

    def open(self) -> tuple[Link | None, list[str]]: ...
    def append(self, links: Sequence[Link]) -> list[str]: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class Standing:
    """How far a copy is. `failing`: why it does not go on just now; `faults`: what is wrong for good."""

    group: str
    copy: str
    position: int = 0
    failing: str | None = "it has not begun"
    faults: list[str] = field(default_factory=list)

    def blame(self, faults: Sequence[str]) -> None:
        for fault in faults:
            if fault not in self.faults and len(self.faults) < MOST_FAULTS:
                log.error("audit_copy_damaged", group=self.group, copy=self.copy, fault=fault)
                self.faults.append(fault)

    def shown(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "copy": self.copy,
            "position": self.position,
            "failing": self.failing,
            "faults": list(self.faults),
        }


class Copying:
    """Keeps one copy up to date. What it has already it skips, and never writes over."""

    def __init__(self, connection: Connection, group: str, copy: Copy) -> None:
        self.standing = Standing(group, copy.name)
        self._connection = connection
        self._group = group
        self._copy = copy
        self._last: Link | None = None
        self._moved = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. Whatever goes wrong is told, and tried again."""
        pause = PAUSE
        with ThreadPoolExecutor(1, thread_name_prefix=f"audit-{self._copy.name}") as thread:
            try:
                while True:
                    position = self.standing.position
                    try:
                        await self._follow(thread)
                    except (OSError, sqlite3.Error) as problem:
                        self._fail(reason(problem))
                    except BackchannelError as problem:
                        self._fail(problem.message)
                    except Exception:
                        log.exception("audit_copy_failed", group=self._group, copy=self._copy.name)
                        self._fail("a fault that stands in the log of the handlers")
                    pause = PAUSE if self.standing.position > position else min(pause * 2, LONGEST_PAUSE)
                    await asyncio.sleep(pause)
            finally:
                await asyncio.get_running_loop().run_in_executor(thread, self._copy.close)

    async def reached(self, position: int, patience: float) -> bool:
        """Wait until the copy holds everything up to a position; whether it does."""
        try:
            async with asyncio.timeout(patience):
                while self.standing.position < position:
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            return False
        return True

    async def _follow(self, thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        self._last, faults = await loop.run_in_executor(thread, self._copy.open)
        self.standing.blame(faults)
        self.standing.position = self._last.position if self._last else 0
        walk = Walk(self._connection, AUDIT, audit_of(self._group), await self._place())
        try:
            await self._tell_complete()
            while True:
                links = self._new(await walk.next())
                if links:
                    self.standing.blame(await loop.run_in_executor(thread, self._copy.append, links))
                    self._reach(links[-1])
        finally:
            walk.close()

    async def _place(self) -> int:
        """Where to go on in the stream; the last record must be the same in both."""
        if self._last is None:
            return 0
        place, there = await locate(self._connection, self._group, self._last.position)
        if there is None:
            self.standing.blame([f"the primary has no record {self._last.position}, which is copied here"])
        elif there.hash != self._last.hash:
            self.standing.blame([f"record {self._last.position} differs from that of the primary"])
        return place

    async def _tell_complete(self) -> None:
        """If there is nothing to copy, nothing is in the way of copying it."""
        newest = await head(self._connection, self._group)
        if newest is None or newest.position <= self.standing.position:
            self.standing.failing = None

    def _new(self, records: Sequence[Record]) -> list[Link]:
        """Those that are not here yet. What is out of order is copied as it is, and told."""
        found: list[Link] = []
        for record in records:
            try:
                link = read_link(record.payload)
            except Damaged as problem:
                self.standing.blame([f"message {record.sequence} of {AUDIT} is no record: {problem}"])
                continue
            position, own = (self._last.position, self._last.hash) if self._last else (0, GENESIS)
            if link.position <= position:
                continue
            if link.position > position + 1:
                self.standing.blame([f"the primary has no record {position + 1}"])
            elif link.previous != own:
                self.standing.blame([f"the chain is broken at {link.position}"])
            found.append(link)
            self._last = link
        return found

    def _reach(self, link: Link) -> None:
        self.standing.position = link.position
        self.standing.failing = None
        self._moved.set()

    def _fail(self, why: str) -> None:
        if self.standing.failing != why:
            log.warning("audit_copy_waits", group=self._group, copy=self._copy.name, problem=why)
        self.standing.failing = why
