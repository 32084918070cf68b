"""Questions of native agents: answered to who asks, as the NATS server says it, and to nobody else."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import uuid4

import pydantic_core

from backchannel.delivery.doors import Door as Way
from backchannel.delivery.native import ACCOUNT, TO, may_ask, owner_of
from backchannel.errors import BackchannelError, Forbidden, Internal
from backchannel.jetstream.connection import Arrived, Connection, Subscription
from backchannel.logger import Logger
from backchannel.protocol.attention import Query
from backchannel.protocol.subject import service_subject
from backchannel.service.native.door import size_of
from backchannel.service.native.gate import Attempt, Gate
from backchannel.service.reply import said

log = Logger(__name__)
APART = 1.0
"""Seconds within which both halves of a question come; they are sent at once."""
MOST_INBOXES = 8
"""Inboxes that one question is answered to at most."""
MOST_EARLY = MOST_INBOXES // 2
"""Of them, those that were named before the question came."""
MOST_ASKED, MOST_LONELY = 1024, 1024
MOST_KEPT = 8 << 20
"""Bytes of answers that are kept for the second half of their questions."""
ANSWER_SECONDS = 5.0


class Matter(NamedTuple):
    """What both halves of a question have in common: whose it is, what is asked, and of whom.

    What is asked is kept as its digest: whoever names inboxes in vain would have us keep megabytes of it.
    """

    agent: str
    name: str
    digest: bytes


@dataclass(slots=True)
class Question:
    """One question of an agent, as the server vouches for it, until `end` (seconds of the loop).

    `over`: nothing is kept for it any more. Whoever was named before that still gets its answer.
    """

    end: float
    inboxes: set[str] = field(default_factory=set)
    answer: bytes | None = None
    over: bool = False


class Questions:
    """Of one group. Both halves of a question come to the same process: the one that reads for the group.

    A question comes twice: once with who asks, which nobody can forge, and right behind that with where its
    answer is to go, which anybody can. So an inbox is only ever answered what its owner has asked. Whoever
    names one in the owner's place takes nothing from the owner: a question is answered to several inboxes,
    the first that are named behind it.
    """

    def __init__(self, listening: Connection, answering: Connection, group: str, gate: Gate) -> None:
        self._listening = listening
        self._connection = answering
        self._group = group
        self._gate = gate
        self._loop = asyncio.get_running_loop()
        self._asked: OrderedDict[Matter, Question] = OrderedDict()
        self._lonely: OrderedDict[Matter, deque[tuple[str, float]]] = OrderedDict()
        self._kept = 0
        self._subscriptions: list[Subscription] = []

    async def open(self) -> None:
        for subject, take in (
            (f"native.svc.{self._group}.*.*", self._asked_by),
            (f"native.ask.{self._group}.*.*", self._asked_from),
        ):
            self._subscriptions.append(await self._listening.subscribe(subject, take))

    async def close(self) -> None:
        for subscription in self._subscriptions:
            subscription.close()

    def _asked_by(self, request: Arrived) -> None:
        """Who asks: the name that the platform gave the connection when it was let in."""
        try:
            about = pydantic_core.from_json((request.headers or {}).get("Nats-Request-Info", ""))
            group, _, agent = str(about["user"]).partition(".")
            account = about["acc"]
        except (ValueError, KeyError, TypeError):
            return
        if account != ACCOUNT or group != self._group or self._gate.closes(group, agent):
            return
        name = _name(request)
        attempt = Attempt(
            Way.NATIVE_QUERY, group, agent, size_of(request), request.payload, lambda said: _query(name, said)
        )
        matter = Matter(agent, name, _digest(request.payload))
        refusals: list[BackchannelError] = []
        if self._gate.lets_pass(attempt, refusals.append):
            question = self._open(matter)
            self._gate.run(attempt, self._answer(attempt, matter, question))
        elif refusals:
            self._give(self._open(matter), said(refusals[0]))

    def _asked_from(self, request: Arrived) -> None:
        """Where the answer is to go, as whoever published it says."""
        if (agent := owner_of(request.reply)) is None:
            return
        matter, now = Matter(agent, _name(request), _digest(request.payload)), self._loop.time()
        question = self._asked.get(matter)
        if question is None or question.end < now:
            self._keep_lonely(matter, request.reply, now + APART)
        elif len(question.inboxes) < MOST_INBOXES:
            question.inboxes.add(request.reply)
            if question.answer is not None:
                self._send(request.reply, question.answer)

    def _keep_lonely(self, matter: Matter, inbox: str, end: float) -> None:
        """Nobody has asked that yet; until `end` somebody may."""
        self._lonely.setdefault(matter, deque(maxlen=MOST_EARLY)).append((inbox, end))
        self._lonely.move_to_end(matter)
        if len(self._lonely) > MOST_LONELY:
            self._lonely.popitem(last=False)

    def _open(self, matter: Matter) -> Question:
        """A new question; inboxes that were named in vain a moment ago are among those it is answered to."""
        now = self._loop.time()
        while self._asked and (len(self._asked) >= MOST_ASKED or next(iter(self._asked.values())).end < now):
            self._forget(self._asked.popitem(last=False)[1])
        if (before := self._asked.pop(matter, None)) is not None:
            self._forget(before)
        question = self._asked[matter] = Question(now + APART)
        early = self._lonely.pop(matter, ())
        question.inboxes.update(inbox for inbox, end in early if end >= now)
        return question

    def _forget(self, question: Question) -> None:
        self._kept -= len(question.answer or b"")
        question.answer, question.over = None, True

    async def _answer(self, attempt: Attempt, matter: Matter, question: Question) -> None:
        try:
            answer = await self._found(attempt, matter)
        except BackchannelError as error:
            answer = said(error)
        except Exception:
            log.exception("native_question_failed", question=matter.name)
            answer = said(Internal("The request failed for a reason that is in the platform's log."))
        self._give(question, answer)

    def _give(self, question: Question, answer: bytes) -> None:
        """To every inbox that was named, and to those that still are within a moment."""
        for inbox in question.inboxes:
            self._send(inbox, answer)
        if not question.over and self._kept + len(answer) <= MOST_KEPT:
            self._kept += len(answer)
            question.answer = answer

    def _send(self, inbox: str, answer: bytes) -> None:
        try:
            self._connection.emit(TO + inbox, answer)
        except BackchannelError as error:
            log.warning("native_answer_lost", error=error.message)

    async def _found(self, attempt: Attempt, matter: Matter) -> bytes:
        """What the service says that is asked; who asks stands in headers of ours."""
        claims = await self._gate.lets_act(attempt)
        service, _, endpoint = matter.name.partition(".")
        if not may_ask(claims, service, endpoint):
            raise Forbidden(f"{matter.agent} may not ask for {matter.name}.")
        headers = {
            "Bc-Caller": matter.agent,
            "Bc-Role": claims.entity_type,
            "Bc-Access": ",".join(claims.sidebar_access),
            "Bc-Offers": ",".join(claims.offers),
        }
        subject = service_subject(self._group, service, endpoint)
        payload = pydantic_core.to_json(attempt.content, inf_nan_mode="null")
        reply = await self._connection.request(subject, payload, headers=headers, timeout=ANSWER_SECONDS)
        return reply.payload


def _digest(payload: bytes) -> bytes:
    return blake2b(payload, digest_size=16).digest()


def _name(request: Arrived) -> str:
    """``<service>.<endpoint>``"""
    return ".".join(request.subject.split(".")[3:])


def _query(name: str, content: dict[str, Any]) -> Query | None:
    """What takes rights of its own: a query as an agent at the bridge would ask it."""
    service, _, endpoint = name.partition(".")
    if service != "query":
        return None
    return Query(message_id=uuid4(), timestamp=datetime.now(UTC), query=endpoint, params=content)
