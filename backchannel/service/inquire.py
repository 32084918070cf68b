"""Answers queries: requests on ``bc.<group>.svc.query.<name>``, each in a task of its own, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pydantic_core
import structlog

from backchannel.errors import BackchannelError, Internal, NotFound, QueueFull
from backchannel.jetstream.connection import Arrived
from backchannel.protocol.catalog import read_object
from backchannel.service.context import Inquiry
from backchannel.service.declare import Responder, Service
from backchannel.service.house import House

log = structlog.get_logger()

AT_ONCE = 64
LARGEST_REPLY = 1_000_000


class Inquiries:
    """The query endpoints of all services of this process, for all its groups."""

    def __init__(self, services: Sequence[Service], house: House) -> None:
        self._house = house
        self._responders: dict[str, Responder] = {}
        for service in services:
            self._responders.update(service.responders)
        self._running: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        for group in self._house.groups:
            await self._house.connection.subscribe(f"bc.{group}.svc.query.*", self._arrived, queue="query")

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _arrived(self, request: Arrived) -> None:
        if not request.reply:
            return
        task = asyncio.get_running_loop().create_task(self._reply(request))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _reply(self, request: Arrived) -> None:
        try:
            answer = await self._answer(request)
        except BackchannelError as error:
            answer = said(error)
        except Exception:
            log.exception("query_failed", subject=request.subject)
            answer = said(Internal("The query failed for a reason that is in the platform's log."))
        try:
            await self._house.connection.send(request.reply, answer)
        except BackchannelError as error:
            log.warning("query_reply_lost", subject=request.subject, error=error.message)

    async def _answer(self, request: Arrived) -> bytes:
        if len(self._running) > AT_ONCE:
            raise QueueFull("Too many queries are being answered; ask again in a moment.", retry_after=1.0)
        _, group, _, _, name = request.subject.split(".")
        responder = self._responders.get(name)
        if responder is None:
            raise NotFound(f"There is no query {name}; there are {', '.join(sorted(self._responders))}.")
        fields = await responder(self._inquiry(group, request))
        answer = pydantic_core.to_json({"status": "success", **fields})
        if len(answer) > LARGEST_REPLY:
            raise NotFound("The answer is too large for one message; ask for less with `limit`.")
        return answer

    def _inquiry(self, group: str, request: Arrived) -> Inquiry:
        """Who asks is what the platform's own doors say in headers; the payload has no say in it."""
        headers = request.headers or {}
        params: dict[str, Any] = read_object(request.payload or b"{}")
        access = frozenset(filter(None, headers.get("Bc-Access", "").split(",")))
        return Inquiry(
            group, headers.get("Bc-Caller", ""), headers.get("Bc-Role", "agent"), access, params, self._house
        )


def said(error: BackchannelError) -> bytes:
    """The refusal of a request, as its asker reads it."""
    denied = error.code == "forbidden"
    return pydantic_core.to_json(
        {
            "status": "denied" if denied else "failed",
            "code": error.code,
            "message": error.message,
            "field": error.field,
            "retryable": error.retryable,
            "retry_after": error.retry_after,
        }
    )
