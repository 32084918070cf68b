"""Desks: requests that are decided and committed before they are answered; for who cannot wait in a lane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pydantic_core

from backchannel.errors import BadMessage, Conflict, NotFound, QueueFull
from backchannel.jetstream.connection import Arrived
from backchannel.protocol.json_object import read_object
from backchannel.protocol.lane import Lane
from backchannel.protocol.subject import Asked, service_subject
from backchannel.service.commit import STALE_TRIES, Outcome, committed
from backchannel.service.context import Context
from backchannel.service.declare import Service
from backchannel.service.follow import Origin, follow_ups
from backchannel.service.house import House
from backchannel.service.reply import Replies
from backchannel.service.wanted import Wanted

AT_ONCE = 64


class Desks:
    """The desks of all services of this process, at ``bc.<group>.svc.<service>.<name>``."""

    def __init__(self, services: Sequence[Service], house: House) -> None:
        self._house = house
        self._clerks = {
            (service.name, name): clerk for service in services for name, clerk in service.desks.items()
        }
        self._replies = Replies(house.connection, "desk", self._answer)

    async def open(self) -> None:
        for group in self._house.groups:
            for service, name in self._clerks:
                subject = service_subject(group, service, name)
                await self._house.connection.subscribe(subject, self._replies.begin, queue=service)

    async def close(self) -> None:
        await self._replies.close()

    async def _answer(self, request: Arrived) -> bytes:
        return pydantic_core.to_json({"status": "success", **await self._served(request)})

    async def _served(self, request: Arrived) -> Mapping[str, Any]:
        if len(self._replies) > AT_ONCE:
            raise QueueFull("Too many requests are being decided; come again.", retry_after=0.5)
        _, group, _, service, name = request.subject.split(".")
        clerk = self._clerks.get((service, name))
        if clerk is None:
            raise NotFound(f"Nobody decides {service}.{name} here.")
        wanted = _wanted(request)
        offers = (request.headers or {}).get("Bc-Offers")
        held = {} if offers is None else {"offers": offers.split(",")}
        origin = Origin(group, wanted.caller, wanted.message_id)
        for _ in range(STALE_TRIES):
            asked = Asked(group, Lane.HIGH.value, wanted.caller, f"{service}_{name}")
            role = (request.headers or {}).get("Bc-Role", "service")
            context = Context(asked, frozenset(), datetime.now(UTC), self._house, role, held=held)
            decision = await clerk(wanted, context)
            told = [] if decision.repeated else follow_ups(decision, origin)
            if await committed(self._house, Outcome(decision, told, context.fences, origin.key)):
                return decision.result
        raise Conflict("Others decide the same all the time; come again.", retry_after=0.5)


def _wanted(request: Arrived) -> Wanted:
    """Who asks is what the platform's own doors say in headers; the payload has no say in it."""
    fields = read_object(request.payload)
    try:
        message_id = UUID(str(fields.get("message_id")))
    except ValueError:
        raise BadMessage("A request needs a UUID as its message_id.", field="message_id") from None
    return Wanted((request.headers or {}).get("Bc-Caller", ""), message_id, fields)
