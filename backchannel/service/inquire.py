"""Answers queries: requests on ``bc.<group>.svc.query.<name>``, each in a task of its own, bounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pydantic_core

from backchannel.domain.paging import shortened
from backchannel.errors import NotFound, QueueFull
from backchannel.jetstream.connection import Arrived
from backchannel.protocol.json_object import read_object
from backchannel.service.context import Inquiry
from backchannel.service.declare import Responder, Service
from backchannel.service.house import House
from backchannel.service.reply import Replies
from backchannel.service.turns import Turns

AT_ONCE = 64
EACH = 24
"""Queries of one caller that may be unanswered: two connections at a bridge and one over NATS."""

LARGEST_REPLY = 2_000_000
"""Bytes; NATS takes 2 MiB, so the largest message that can be stored can also be shown."""


class Inquiries:
    """The query endpoints of all services of this process, for all its groups."""

    def __init__(self, services: Sequence[Service], house: House) -> None:
        self._house = house
        self._responders: dict[str, Responder] = {}
        self._searching: set[str] = set()
        self._under_way: Counter[tuple[str, str]] = Counter()
        self._turns = Turns()
        for service in services:
            self._responders.update(service.responders)
            self._searching |= service.searching
        self._replies = Replies(house.connection, "query", self._answer)

    async def open(self) -> None:
        for group in self._house.groups:
            await self._house.connection.subscribe(
                f"bc.{group}.svc.query.*", self._replies.begin, queue="query"
            )

    async def close(self) -> None:
        await self._replies.close()

    async def _answer(self, request: Arrived) -> bytes:
        if len(self._replies) > AT_ONCE:
            raise QueueFull("Too many queries are being answered; ask again in a moment.", retry_after=1.0)
        _, group, _, _, name = request.subject.split(".")
        responder = self._responders.get(name)
        if responder is None:
            raise NotFound(f"There is no query {name}; there are {', '.join(sorted(self._responders))}.")
        fields = await self._found(name, responder, self._inquiry(group, request))
        answer = pydantic_core.to_json({"status": "success", **fields})
        if len(answer) <= LARGEST_REPLY:
            return answer
        # What a query shows pages by bytes; should one thing be larger all the same, its beginning is shown.
        return pydantic_core.to_json(shortened({"status": "success", **fields}, LARGEST_REPLY))

    async def _found(self, name: str, responder: Responder, inquiry: Inquiry) -> Mapping[str, Any]:
        """Nobody takes the places of all others. Raises QueueFull."""
        caller = (inquiry.group, inquiry.caller)
        if self._under_way[caller] >= EACH:
            raise QueueFull(f"At most {EACH} queries of one agent at a time; wait for one.", retry_after=0.5)
        self._under_way[caller] += 1
        try:
            if name not in self._searching:
                return await responder(inquiry)
            async with self._turns.turn(caller):
                return await responder(inquiry)
        finally:
            self._under_way[caller] -= 1
            if not self._under_way[caller]:
                del self._under_way[caller]

    def _inquiry(self, group: str, request: Arrived) -> Inquiry:
        """Who asks is what the platform's own doors say in headers; the payload has no say in it."""
        headers = request.headers or {}
        params: dict[str, Any] = read_object(request.payload or b"{}")
        access = frozenset(filter(None, headers.get("Bc-Access", "").split(",")))
        return Inquiry(
            group, headers.get("Bc-Caller", ""), headers.get("Bc-Role", "agent"), access, params, self._house
        )
