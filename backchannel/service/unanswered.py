"""What becomes of an event or a timer that could not be answered: again later, or set aside."""

from __future__ import annotations

from datetime import datetime

from backchannel.errors import BackchannelError
from backchannel.jetstream.work import Delivery
from backchannel.logger import Logger
from backchannel.service.house import House
from backchannel.service.setaside import keep
from backchannel.service.verdict import Retry, SetAside, Tell, verdict_on

log = Logger(__name__)
UNREACHED = 5.0
"""Seconds after which it is tried again when it could not even be set aside."""


async def unanswered(
    house: House, what: str, service: str, group: str, delivery: Delivery, error: Exception, now: datetime
) -> None:
    """Say the final word on it. Nobody waits for an answer, so nobody but a person is told.

    Args:
        what: what the platform's log calls it.
    """
    verdict = verdict_on(error, delivery.attempt)
    log.warning(
        what,
        service=service,
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
            await _set_aside(house, service, group, delivery, reason, now)


async def _set_aside(
    house: House, service: str, group: str, delivery: Delivery, reason: str, now: datetime
) -> None:
    try:
        await keep(house, service, group, delivery, reason, now)
    except BackchannelError:
        await delivery.retry(UNREACHED)
        return
    await delivery.settle()
