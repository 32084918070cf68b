"""Answers timers that have come due: decides, commits what follows, settles."""

from __future__ import annotations

import structlog

from backchannel.errors import BackchannelError, NotFound
from backchannel.jetstream.work import Delivery, Work
from backchannel.protocol.identifier import PLATFORM
from backchannel.protocol.lane import Lane
from backchannel.protocol.subject import Asked, dues_of, events_stream
from backchannel.service.commit import STALE_TRIES, committed
from backchannel.service.context import Context
from backchannel.service.declare import Service
from backchannel.service.due import Due, due_in
from backchannel.service.follow import follow_ups
from backchannel.service.house import House
from backchannel.service.runner import Clock, now_utc
from backchannel.service.setaside import keep
from backchannel.service.verdict import Retry, SetAside, Tell, verdict_on

log = structlog.get_logger()
AT_ONCE = 32
"""Timers that may be under way in all processes of the service together; their order means nothing."""
BUSY = 0.2


class Timers:
    """One service's timers in one group's log.

    The server keeps them and puts them into the log when they are due; a durable consumer brings each to one
    process until it is settled. What follows has ids derived from where it came due, and whoever answers
    looks at the state again: so nothing happens twice, whoever dies in between.
    """

    def __init__(self, service: Service, house: House, group: str, clock: Clock = now_utc) -> None:
        self._service = service
        self._house = house
        self._group = group
        self._clock = clock

    async def run(self) -> None:
        """Work until cancelled."""
        work = await Work.open(
            self._house.connection,
            events_stream(self._group),
            f"{self._service.name}-timers",
            [dues_of(self._group, self._service.name)],
            max_ack_pending=AT_ONCE,
        )
        try:
            while True:
                delivery = await work.take()
                try:
                    await self._answer(delivery)
                finally:
                    delivery.let_go()
        finally:
            await work.close()

    async def _answer(self, delivery: Delivery) -> None:
        """Say the final word on one timer. Never raises but for cancellation."""
        try:
            await self._decide(delivery, due_in(delivery.record))
        except Exception as error:
            await self._fault(delivery, error)

    async def _decide(self, delivery: Delivery, due: Due) -> None:
        answerer = self._service.timers.get(due.name)
        if answerer is None:
            raise NotFound(f"The service {self._service.name} knows no timer {due.name}.")
        for _ in range(STALE_TRIES):
            context = self._context(due)
            decision = await answerer(due, context)
            told = [] if decision.repeated else follow_ups(decision, due.origin)
            if await committed(self._house, told, context.fences, decision.deeds, due.origin.key):
                await delivery.settle()
                return
        await delivery.retry(BUSY)

    def _context(self, due: Due) -> Context:
        """The platform asks itself. Its clock may lag behind the server's, by which the timer ran."""
        asked = Asked(self._group, Lane.NORMAL.value, PLATFORM, f"timer_{due.name}")
        return Context(asked, frozenset(), max(self._clock(), due.stored), self._house)

    async def _fault(self, delivery: Delivery, error: Exception) -> None:
        verdict = verdict_on(error, delivery.attempt)
        log.warning(
            "timer_failed",
            service=self._service.name,
            subject=delivery.record.subject,
            sequence=delivery.record.sequence,
            attempt=delivery.attempt,
            verdict=type(verdict).__name__,
            error=str(error),
            exc_info=not isinstance(error, BackchannelError),
        )
        match verdict:
            case Retry(delay=delay):
                await delivery.retry(delay)
            case SetAside(reason=reason) | Tell(error=BackchannelError(message=reason)):
                await self._set_aside(delivery, reason)

    async def _set_aside(self, delivery: Delivery, reason: str) -> None:
        try:
            await keep(self._house, self._service.name, self._group, delivery, reason, self._clock())
        except BackchannelError:
            await delivery.retry(5.0)
            return
        await delivery.settle()
