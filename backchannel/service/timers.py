"""Answers timers that have come due: decides, commits what follows, settles."""

from __future__ import annotations

from backchannel.errors import NotFound
from backchannel.jetstream.work import Delivery, Work
from backchannel.protocol.identifier import PLATFORM
from backchannel.protocol.lane import Lane
from backchannel.protocol.subject import Asked, dues_of, events_stream
from backchannel.service.commit import STALE_TRIES, Outcome, committed
from backchannel.service.context import Context
from backchannel.service.declare import Service
from backchannel.service.due import Due, due_in
from backchannel.service.follow import follow_ups
from backchannel.service.house import House
from backchannel.service.runner import Clock, now_utc
from backchannel.service.unanswered import unanswered

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
            await unanswered(
                self._house, "timer_failed", self._service.name, self._group, delivery, error, self._clock()
            )

    async def _decide(self, delivery: Delivery, due: Due) -> None:
        answerer = self._service.timers.get(due.name)
        if answerer is None:
            raise NotFound(f"The service {self._service.name} knows no timer {due.name}.")
        for _ in range(STALE_TRIES):
            context = self._context(due)
            decision = await answerer(due, context)
            told = [] if decision.repeated else follow_ups(decision, due.origin)
            if await committed(self._house, Outcome(decision, told, context.fences, due.origin.key)):
                await delivery.settle()
                return
        await delivery.retry(BUSY)

    def _context(self, due: Due) -> Context:
        """The platform asks itself. Its clock may lag behind the server's, by which the timer ran."""
        asked = Asked(self._group, Lane.NORMAL.value, PLATFORM, f"timer_{due.name}")
        return Context(asked, frozenset(), max(self._clock(), due.stored), self._house)
