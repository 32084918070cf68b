"""Follows events of the log and keeps notes of them in the directory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pydantic_core
import structlog

from backchannel.errors import BackchannelError, Conflict
from backchannel.jetstream.work import Delivery, Work
from backchannel.protocol.message import Message
from backchannel.protocol.subject import events_stream
from backchannel.service.house import House
from backchannel.service.lives import event_of

log = structlog.get_logger()
IN_FLIGHT = 64
RETRY = 2.0


@dataclass(frozen=True, slots=True)
class Happened:
    """One event of the log."""

    group: str
    event: Message
    sequence: int


@dataclass(frozen=True, slots=True)
class Note:
    """Fields to be kept under a key of BC_agents, as of a position of the log; an older note never wins."""

    key: str
    fields: Mapping[str, Any]
    sequence: int


Follower = Callable[[Happened], Awaitable[Note | None]]


class Following:
    """One follower over one group's log: durable, so that nothing is missed while nobody runs."""

    def __init__(self, name: str, follower: Follower, pattern: str, house: House, group: str) -> None:
        self._name = name
        self._follower = follower
        self._filter = pattern.format(group=group)
        self._house = house
        self._group = group

    async def run(self) -> None:
        """Work until cancelled."""
        work = await Work.open(
            self._house.connection,
            events_stream(self._group),
            self._name,
            [self._filter],
            max_ack_pending=IN_FLIGHT,
        )
        try:
            while True:
                delivery = await work.take()
                try:
                    await self._one(delivery)
                finally:
                    delivery.let_go()
        finally:
            await work.close()

    async def _one(self, delivery: Delivery) -> None:
        """Note what follows and settle; what cannot be read is logged and passed over, it is in the log."""
        try:
            happened = Happened(self._group, event_of(delivery.record), delivery.record.sequence)
            note = await self._follower(happened)
            if note is not None:
                await self._keep(note)
        except Conflict:
            await delivery.retry(RETRY)
            return
        except BackchannelError as error:
            if error.retryable:
                await delivery.retry(RETRY)
                return
            log.error("event_unreadable", sequence=delivery.record.sequence, error=error.message)
        except Exception:
            log.exception("event_not_noted", service=self._name, sequence=delivery.record.sequence)
        await delivery.settle()

    async def _keep(self, note: Note) -> None:
        found = await self._house.agents.get(note.key)
        if found is None:
            return
        known: dict[str, Any] = pydantic_core.from_json(found.payload)
        if known.get("noted_at", 0) >= note.sequence:
            return
        changed = {**known, **note.fields, "noted_at": note.sequence}
        await self._house.agents.update(note.key, pydantic_core.to_json(changed), found.revision)
