"""Questions of native agents: answered to who asks, as the NATS server says it, and to nobody else."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import uuid4

import pydantic_core

from backchannel.delivery.native import ACCOUNT, TO, may_ask, owner_of
from backchannel.delivery.permit import check
from backchannel.errors import BackchannelError, Forbidden, Internal
from backchannel.jetstream.connection import Arrived, Connection, Subscription
from backchannel.logger import Logger
from backchannel.protocol.attention import Query
from backchannel.protocol.json_object import read_object
from backchannel.protocol.subject import service_subject
from backchannel.service.native.door import Door
from backchannel.service.reply import said

log = Logger(__name__)
APART = 1.0
"""Seconds within which both halves of a question come; they are sent at once."""
MOST_HALVES = 1024
AT_ONCE = 256
ANSWER_SECONDS = 5.0


class Half(NamedTuple):
    """One half of a question: who asks, as the server says it; or, with `inbox`, where the answer goes."""

    agent: str
    name: str
    payload: bytes
    inbox: str
    end: float

    def belongs_to(self, other: Half) -> bool:
        return (self.agent, self.name, self.payload) == (other.agent, other.name, other.payload)


class Questions:
    """Of one group. Both halves of a question come to the same process: the one that reads for the group."""

    def __init__(self, connection: Connection, group: str, door: Door) -> None:
        self._connection = connection
        self._group = group
        self._door = door
        self._loop = asyncio.get_running_loop()
        self._who: deque[Half] = deque(maxlen=MOST_HALVES)
        self._where: deque[Half] = deque(maxlen=MOST_HALVES)
        self._running: set[asyncio.Task[None]] = set()
        self._subscriptions: list[Subscription] = []

    async def open(self) -> None:
        for subject, take in (
            (f"native.svc.{self._group}.*.*", self._asked_by),
            (f"native.ask.{self._group}.*.*", self._asked_from),
        ):
            self._subscriptions.append(await self._connection.subscribe(subject, take))

    async def close(self) -> None:
        for subscription in self._subscriptions:
            subscription.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _asked_by(self, request: Arrived) -> None:
        """Who asks: the name that the platform gave the connection when it was let in."""
        try:
            about = pydantic_core.from_json((request.headers or {}).get("Nats-Request-Info", ""))
            group, _, agent = str(about["user"]).partition(".")
            account = about["acc"]
        except (ValueError, KeyError, TypeError):
            return
        if account == ACCOUNT and group == self._group:
            self._match(self._half(agent, request, ""), self._who, self._where)

    def _asked_from(self, request: Arrived) -> None:
        """Where the answer is to go."""
        if (agent := owner_of(request.reply)) is not None:
            self._match(self._half(agent, request, request.reply), self._where, self._who)

    def _half(self, agent: str, request: Arrived, inbox: str) -> Half:
        name = ".".join(request.subject.split(".")[3:])
        return Half(agent, name, request.payload, inbox, self._loop.time() + APART)

    def _match(self, half: Half, mine: deque[Half], others: deque[Half]) -> None:
        """Whoever comes second finds the other half; one that stays alone is forgotten."""
        while others and others[0].end < half.end - APART:
            others.popleft()
        for other in others:
            if half.belongs_to(other):
                others.remove(other)
                self._run(half, half.inbox or other.inbox)
                return
        mine.append(half)

    def _run(self, half: Half, inbox: str) -> None:
        if len(self._running) >= AT_ONCE:
            return
        task = self._loop.create_task(self._answer(half, TO + inbox))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _answer(self, half: Half, to: str) -> None:
        try:
            answer = await self._found(half)
        except BackchannelError as error:
            answer = said(error)
        except Exception:
            log.exception("native_question_failed", question=half.name)
            answer = said(Internal("The request failed for a reason that is in the platform's log."))
        try:
            await self._connection.send(to, answer)
        except BackchannelError as error:
            log.warning("native_answer_lost", error=error.message)

    async def _found(self, half: Half) -> bytes:
        """What the service says that is asked; who asks stands in headers of ours."""
        self._door.require_pace(self._group, half.agent)
        claims = await self._door.claims_of(self._group, half.agent)
        content = read_object(half.payload or b"{}")
        service, _, endpoint = half.name.partition(".")
        if not may_ask(claims, service, endpoint):
            raise Forbidden(f"{half.agent} may not ask for {half.name}.")
        if service == "query":
            question = Query(message_id=uuid4(), timestamp=datetime.now(UTC), query=endpoint, params=content)
            check(question, claims, "active")
        headers = {
            "Bc-Caller": half.agent,
            "Bc-Role": claims.entity_type,
            "Bc-Access": ",".join(claims.sidebar_access),
            "Bc-Offers": ",".join(claims.offers),
        }
        subject = service_subject(self._group, service, endpoint)
        payload = pydantic_core.to_json(content, inf_nan_mode="null")
        reply = await self._connection.request(subject, payload, headers=headers, timeout=ANSWER_SECONDS)
        return reply.payload
