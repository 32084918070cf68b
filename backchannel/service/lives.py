"""The sidebars of one group as this process knows them: a fold of the log that follows it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine

from backchannel.domain.sidebar import Sidebar, evolve
from backchannel.errors import BackchannelError, Unavailable
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.read import Record, StreamFacts, describe, last, page
from backchannel.jetstream.tail import Tail
from backchannel.logger import Logger
from backchannel.protocol.catalog import AnyMessage, read_message
from backchannel.protocol.json_object import read_object
from backchannel.protocol.subject import InContext, events_stream, life_of, lives, locate
from backchannel.service.shelf import Shelf
from backchannel.service.snapshot import Snapshots

log = Logger(__name__)
REACH = 5.0
SLICE = 0.5
SAVE_EVERY = 10.0
LAST_SAVE = 2.0
"""Seconds a process that ends spends on saving; what it does not save is read from the log later."""
AT_ONCE = 16


def event_of(record: Record) -> AnyMessage:
    """The message in a record of the log.

    Raises:
        BackchannelError: the record holds no message of the protocol.
    """
    return read_message(read_object(record.payload))


def evolved(sidebar: Sidebar | None, record: Record) -> Sidebar | None:
    """The state after one more record of a life; what cannot be read is logged and passed over."""
    try:
        return evolve(sidebar, event_of(record), record.sequence)
    except BackchannelError as error:
        log.error("life_unreadable", subject=record.subject, sequence=record.sequence, error=error.message)
        return sidebar


class Lives:
    """Every sidebar of a group. A prefix of the truth at any moment; ``reach`` makes it current.

    It begins with the folds that were saved, if they can be trusted, and saves its own from time to time.
    """

    def __init__(self, connection: Connection, group: str, *, save_every: float = SAVE_EVERY) -> None:
        self._connection = connection
        self._group = group
        self._stream = events_stream(group)
        self._save_every = save_every
        self._snapshots = Snapshots(connection, group)
        self.shelf = Shelf()
        self._mended: tuple[str, ...] = ()
        self._newest: Record | None = None
        self._tail = self._new_tail(0, None)
        self._tasks: set[asyncio.Task[None]] = set()

    def _new_tail(self, after: int, epoch: str | None) -> Tail:
        return Tail(
            self._connection,
            self._stream,
            after=after,
            on_record=self._take,
            filters=(lives(self._group),),
            on_replaced=self._start_over,
            epoch=epoch,
        )

    async def start(self) -> None:
        """Know all that is in the log now. Takes as long as it takes while it gets on.

        Raises:
            NotFound: the group has no log.
            Unavailable: the log does not answer.
        """
        facts = await describe(self._connection, self._stream)
        await self._begin_with_snapshots(facts)
        await self._tail.start()
        await self._catch_up()
        self._spawn(self._saving(), "saving folds")

    async def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(LAST_SAVE):
                await self.save()
        except (TimeoutError, BackchannelError) as error:
            log.info("folds_not_saved", group=self._group, error=str(error))
        await self._tail.stop()

    async def reach(self) -> None:
        """Wait until everything in the log as of now is known here.

        Raises:
            Unavailable: that took too long.
        """
        newest = await last(self._connection, self._stream, lives(self._group))
        if newest is None:
            return
        end = asyncio.get_running_loop().time() + REACH
        while True:
            tail = self._tail
            try:
                await tail.reached(newest.sequence, SLICE)
                return
            except Unavailable:
                if asyncio.get_running_loop().time() > end:
                    raise

    def get(self, sidebar_id: str) -> Sidebar | None:
        return self.shelf.get(sidebar_id)

    def all(self) -> list[Sidebar]:
        return list(self.shelf)

    async def _begin_with_snapshots(self, facts: StreamFacts) -> None:
        loaded = await self._snapshots.load(facts)
        read = await self._read_lives(loaded.wanting)
        if len(loaded.sidebars) + len(read) < loaded.count:
            log.warning("snapshots_ignored", group=self._group, reason="not every sidebar could be found")
            return
        self.shelf = Shelf({**loaded.sidebars, **read})
        self._mended = tuple(read)
        self._tail = self._new_tail(loaded.sequence, facts.epoch)
        log.info("folds_loaded", group=self._group, sidebars=len(self.shelf), after=loaded.sequence)

    async def _read_lives(self, names: tuple[str, ...]) -> dict[str, Sidebar]:
        found: list[Sidebar | None] = []
        for start in range(0, len(names), AT_ONCE):
            part = names[start : start + AT_ONCE]
            found += await asyncio.gather(*(self._read_life(name) for name in part))
        return {sidebar.sidebar_id: sidebar for sidebar in found if sidebar is not None}

    async def _read_life(self, name: str) -> Sidebar | None:
        """One sidebar from the log alone."""
        sidebar: Sidebar | None = None
        position, done = 0, False
        while not done:
            part = await page(self._connection, self._stream, position, filter=life_of(self._group, name))
            for record in part.records:
                sidebar = evolved(sidebar, record)
            position, done = part.last_sequence_scanned, part.done
        return sidebar

    async def _catch_up(self) -> None:
        while True:
            position = self._tail.position
            try:
                return await self.reach()
            except Unavailable:
                if self._tail.position == position:
                    raise

    def _take(self, record: Record) -> None:
        located = locate(record.subject)
        if located is None or not isinstance(located.to, InContext):
            return
        known = located.to.context_id
        sidebar = evolved(self.shelf.get(known), record)
        if sidebar is not None:
            self.shelf.put(sidebar)
        self._newest = record

    def _start_over(self, facts: StreamFacts) -> None:
        """The log is another one; what was known of the old one is void."""
        log.error("log_replaced", group=self._group, epoch=facts.epoch)
        self.shelf, self._mended, self._newest = Shelf(), (), None
        former, self._tail = self._tail, self._new_tail(0, None)
        self._spawn(self._follow_anew(former, self._tail), "following anew")

    async def _follow_anew(self, former: Tail, tail: Tail) -> None:
        await former.stop()
        while tail is self._tail:
            try:
                return await tail.start()
            except BackchannelError as error:
                log.warning("log_not_followed", group=self._group, error=error.message)
            await asyncio.sleep(SLICE)

    async def _saving(self) -> None:
        while True:
            # Not in step with other processes: who comes second finds the work done.
            await asyncio.sleep(self._save_every * random.uniform(0.7, 1.3))
            try:
                await self.save()
            except BackchannelError as error:
                log.warning("folds_not_saved", group=self._group, error=error.message)
            except Exception:
                log.exception("saving_failed", group=self._group)

    async def save(self) -> None:
        """What is known here is a fold of one log up to the newest record: both are taken in one moment."""
        newest, epoch, mended = self._newest, self._tail.epoch, self._mended
        if newest is None or epoch is None:
            return
        known = [sidebar for name in mended if (sidebar := self.shelf.get(name)) is not None]
        await self._snapshots.save(self.shelf.copy(), epoch, newest, known)
        if self._mended is mended:
            self._mended = ()

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
