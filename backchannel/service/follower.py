"""Follows events of the log: keeps notes of them in the directory, or commits what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid5

import pydantic_core

from backchannel.domain.decision import Decision
from backchannel.domain.directory import bounded
from backchannel.errors import Conflict, Internal, NotFound
from backchannel.jetstream.read import read_one
from backchannel.jetstream.record import Record
from backchannel.jetstream.work import Delivery, Work
from backchannel.protocol.identifier import PLATFORM, is_reserved
from backchannel.protocol.json_object import read_object
from backchannel.protocol.subject import Asked, again_subject, events_stream, locate
from backchannel.service.commit import STALE_TRIES, Outcome, committed
from backchannel.service.context import Context
from backchannel.service.follow import FAMILY, Origin, follow_ups
from backchannel.service.happened import Follower, Happened, Note
from backchannel.service.house import House
from backchannel.service.lives import event_of
from backchannel.service.runner import Clock, now_utc
from backchannel.service.unanswered import unanswered

IN_FLIGHT = 64
BUSY = 0.2


class Following:
    """One follower over one group's log: durable, so that nothing is missed while nobody runs.

    An event may be told again after a kill: what follows has ids derived from its place in the log, and what
    a decision rests on is fenced. What fails every time is set aside.
    """

    def __init__(
        self,
        name: str,
        follower: Follower,
        patterns: Sequence[str],
        house: House,
        group: str,
        clock: Clock = now_utc,
    ) -> None:
        self._name = name
        self._follower = follower
        self._again = again_subject(group, name)
        self._filters = [*(pattern.format(group=group) for pattern in patterns), self._again]
        self._house = house
        self._group = group
        self._clock = clock

    async def run(self) -> None:
        """Work until cancelled."""
        work = await Work.open(
            self._house.connection,
            events_stream(self._group),
            self._name,
            self._filters,
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
        """Say the final word on one event. Never raises but for cancellation."""
        try:
            await self._follow(delivery, self._happened(await self._meant(delivery.record)))
        except Exception as error:
            await unanswered(
                self._house, "event_not_followed", self._name, self._group, delivery, error, self._clock()
            )

    async def _follow(self, delivery: Delivery, happened: Happened) -> None:
        for _ in range(STALE_TRIES):
            context = self._context(happened)
            match await self._follower(happened, context):
                case None:
                    return await delivery.settle()
                case Note() as note:
                    if await self._keep(note):
                        return await delivery.settle()
                case Decision() as decision:
                    origin = Origin(self._group, PLATFORM, happened.message_id, trace=happened.trace)
                    told = [] if decision.repeated else follow_ups(decision, origin)
                    outcome = Outcome(decision, told, context.fences, origin.key, self._payer(happened))
                    if await committed(self._house, outcome):
                        return await delivery.settle()
        await delivery.retry(BUSY)

    async def _meant(self, record: Record) -> Record:
        """The event itself, also where somebody asks that it be looked at once more."""
        if record.subject != self._again:
            return record
        sequence = int(read_object(record.payload).get("sequence") or 0)
        found = await read_one(self._house.connection, events_stream(self._group), sequence)
        if found is None:
            raise NotFound(f"The event at {sequence} is not in the log any more.")
        return found

    def _happened(self, record: Record) -> Happened:
        located = locate(record.subject)
        if located is None:
            raise Internal(f"The subject {record.subject} is not that of an event.")
        return Happened(
            self._group,
            event_of(record),
            record.sequence,
            located.to,
            located.lane,
            datetime.fromisoformat(record.time),
            uuid5(FAMILY, f"after:{self._name}:{record.subject}:{record.sequence}:{record.time}"),
            (record.headers or {}).get("traceparent"),
        )

    def _payer(self, happened: Happened) -> tuple[str, str] | None:
        """Whoever said what others are told of now; nobody where the platform did."""
        sender = happened.event.sender_agent_id
        return (self._group, sender) if sender is not None and not is_reserved(sender) else None

    def _context(self, happened: Happened) -> Context:
        asked = Asked(self._group, happened.lane, PLATFORM, f"after_{happened.event.type}")
        return Context(asked, frozenset(), max(self._clock(), happened.stored), self._house)

    async def _keep(self, note: Note) -> bool:
        """False when somebody else has written the entry in between."""
        found = await self._house.agents.get(note.key)
        if found is None:
            return True
        known: dict[str, Any] = pydantic_core.from_json(found.payload)
        if known.get("noted_at", 0) >= note.sequence:
            return True
        changed = {**bounded({**known, **note.fields}), "noted_at": note.sequence}
        try:
            await self._house.agents.update(note.key, pydantic_core.to_json(changed), found.revision)
        except Conflict:
            return False
        return True
