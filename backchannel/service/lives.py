"""The sidebars of one group as this process knows them: a fold of the log that follows it."""

from __future__ import annotations

import asyncio

import structlog

from backchannel.domain.sidebar import Sidebar, evolve
from backchannel.errors import BackchannelError
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.read import Record, StreamFacts, last
from backchannel.jetstream.tail import Tail
from backchannel.protocol.catalog import AnyMessage, read_message, read_object
from backchannel.protocol.subject import InContext, events_stream, lives, locate

log = structlog.get_logger()
REACH = 5.0
PAUSE = 1.0


def event_of(record: Record) -> AnyMessage:
    """The message in a record of the log.

    Raises:
        BackchannelError: the record holds no message of the protocol.
    """
    return read_message(read_object(record.payload))


class Lives:
    """Every sidebar of a group. A prefix of the truth at any moment; ``reach`` makes it current."""

    def __init__(self, connection: Connection, group: str) -> None:
        self._connection = connection
        self._group = group
        self._sidebars: dict[str, Sidebar] = {}
        self._tail = self._new_tail()
        self._again: asyncio.Task[None] | None = None

    def _new_tail(self) -> Tail:
        return Tail(
            self._connection,
            events_stream(self._group),
            after=0,
            on_record=self._take,
            filters=(lives(self._group),),
            on_replaced=self._start_over,
        )

    async def start(self) -> None:
        await self._tail.start()
        await self.reach()

    async def stop(self) -> None:
        if self._again is not None:
            self._again.cancel()
            await asyncio.gather(self._again, return_exceptions=True)
        await self._tail.stop()

    async def reach(self) -> None:
        """Wait until everything in the log as of now is known here."""
        newest = await last(self._connection, events_stream(self._group), lives(self._group))
        if newest is not None:
            await self._tail.reached(newest.sequence, REACH)

    def get(self, sidebar_id: str) -> Sidebar | None:
        return self._sidebars.get(sidebar_id)

    def all(self) -> list[Sidebar]:
        return list(self._sidebars.values())

    def _take(self, record: Record) -> None:
        located = locate(record.subject)
        if located is None or not isinstance(located.to, InContext):
            return
        known = located.to.context_id
        try:
            sidebar = evolve(self._sidebars.get(known), event_of(record), record.sequence)
        except BackchannelError as error:
            log.error("life_unreadable", sidebar=known, sequence=record.sequence, error=error.message)
            return
        if sidebar is not None:
            self._sidebars[known] = sidebar

    def _start_over(self, facts: StreamFacts) -> None:
        """The log is another one, or has lost its end; what was known of the old one is void."""
        log.error("log_replaced", group=self._group, epoch=facts.epoch)
        self._sidebars.clear()
        self._again = asyncio.get_running_loop().create_task(self._follow_anew())

    async def _follow_anew(self) -> None:
        await self._tail.stop()
        self._tail = self._new_tail()
        while True:
            try:
                await self._tail.start()
                return
            except BackchannelError as error:
                log.warning("log_not_followed", group=self._group, error=error.message)
            await asyncio.sleep(PAUSE)
