"""Hearing: follows one group's log for whoever admits messages elsewhere than at a bridge."""

from __future__ import annotations

import asyncio
from datetime import datetime

from backchannel.delivery.loops import MOST_KNOWN
from backchannel.delivery.sameness import Sameness, State
from backchannel.errors import BackchannelError
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.read import Record, StreamFacts, describe, last
from backchannel.jetstream.tail import Tail
from backchannel.logger import Logger
from backchannel.protocol.json_object import read_object
from backchannel.protocol.subject import events_stream, happened_in, locate
from backchannel.service.rounds import Members, Rounds
from backchannel.service.states import digest_of

log = Logger(__name__)
REACH = 5.0
"""Seconds after which whoever waits for what is in the log is told to come again."""


class Hearing:
    """Who answers whom, and what each said of itself last. Costs nothing before `reach` was first called."""

    def __init__(self, connection: Connection, group: str, members: Members) -> None:
        self._connection = connection
        self._group = group
        self._stream = events_stream(group)
        self._members = members
        self._tail: Tail | None = None
        self._replaced = False
        self._starting = asyncio.Lock()
        self.rounds = Rounds(members)
        self.states = Sameness()

    async def reach(self) -> None:
        """Know all that is in the log as of now. Raises Unavailable: that took too long."""
        newest = await last(self._connection, self._stream, happened_in(self._group))
        async with self._starting:
            tail = await self._following()
        if newest is not None:
            await tail.reached(newest.sequence, REACH)

    async def close(self) -> None:
        if self._tail is not None:
            await self._tail.stop()

    async def _following(self) -> Tail:
        if self._tail is not None and not self._replaced:
            return self._tail
        await self.close()
        facts = await describe(self._connection, self._stream)
        self.rounds, self.states = Rounds(self._members), Sameness()
        self._replaced = False
        tail = Tail(
            self._connection,
            self._stream,
            after=max(0, facts.last - MOST_KNOWN),
            on_record=self._heard,
            filters=(happened_in(self._group),),
            on_replaced=self._lost,
            epoch=facts.epoch,
        )
        await tail.start()
        self._tail = tail
        return tail

    def _lost(self, facts: StreamFacts) -> None:
        """The log is another one: what was heard of the old one is void."""
        log.warning("log_heard_anew", group=self._group, epoch=facts.epoch)
        self._replaced = True

    def _heard(self, record: Record) -> None:
        located = locate(record.subject)
        try:
            message = read_object(record.payload)
        except BackchannelError:
            return
        if located is None or not isinstance(message.get("message_id"), str):
            return
        self.rounds.heard(record, located.to, message)
        sender = message.get("sender_agent_id")
        if located.to.kind == "presence" and isinstance(sender, str) and (found := digest_of(message)):
            at = datetime.fromisoformat(record.time).timestamp()
            self.states.told(sender, State(found, at, record.sequence))
