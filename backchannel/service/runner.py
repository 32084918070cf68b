"""Runs services: takes commands lane by lane, decides them, commits what follows, settles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pydantic_core

from backchannel.domain.decision import Decision
from backchannel.errors import BackchannelError, Internal, WrongSender
from backchannel.jetstream.work import Delivery, Work
from backchannel.logger import Logger
from backchannel.protocol.catalog import read_message
from backchannel.protocol.identifier import OPERATOR
from backchannel.protocol.json_object import read_object
from backchannel.protocol.lane import LANES, Lane
from backchannel.protocol.message import Message
from backchannel.protocol.subject import COMMANDS, Asked, asked, command_subject
from backchannel.service.commit import STALE_TRIES, committed
from backchannel.service.context import Context
from backchannel.service.declare import Answerer, Service
from backchannel.service.follow import entries, refusal
from backchannel.service.house import House
from backchannel.service.setaside import set_aside
from backchannel.service.verdict import Retry, SetAside, Tell, verdict_on

log = Logger(__name__)

Clock = Callable[[], datetime]


def now_utc() -> datetime:
    return datetime.now(UTC)


def _claims(said: str | None) -> dict[str, Any]:
    """What the door that took the command says of its sender's token."""
    claims = pydantic_core.from_json(said) if said else {}
    return claims if isinstance(claims, dict) else {}


def _kind(agent: str, claims: Mapping[str, Any]) -> str:
    """What sort of sender it is. Only whoever runs the platform can write commands under its own name."""
    if agent == OPERATOR and claims.get("role") == OPERATOR:
        return OPERATOR
    return str(claims.get("entity_type") or "agent")


class Runner:
    """One service's commands in one group, each lane by itself, so that no lane ever waits for a lower one.

    Within a lane commands are taken one at a time, also when several processes run the service: what an
    agent asks first is decided first, whatever dies in between.
    """

    def __init__(self, service: Service, house: House, group: str, clock: Clock = now_utc) -> None:
        self._service = service
        self._house = house
        self._group = group
        self._clock = clock

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as lanes:
            for lane in LANES:
                lanes.create_task(self._lane(lane))

    async def _lane(self, lane: Lane) -> None:
        work = await self._open(lane)
        try:
            while True:
                delivery = await work.take()
                try:
                    await self._handle(delivery)
                finally:
                    delivery.let_go()  # cut off in the middle, it must come again, to us or to others
        finally:
            await work.close()

    async def _open(self, lane: Lane) -> Work:
        """A consumer of this group's own: a process takes nothing of a group that it does not serve."""
        kinds = sorted(self._service.answerers)
        filters = [command_subject(self._group, lane, "*", kind) for kind in kinds]
        name = f"{self._service.name}-{self._group}-{lane}"
        return await Work.open(self._house.connection, COMMANDS, name, filters, max_ack_pending=1)

    async def _handle(self, delivery: Delivery) -> None:
        """Decide one command and say the final word on it. Never raises but for cancellation."""
        record = delivery.record
        found = asked(record.subject)
        assert found is not None  # the consumer's filters have this very form
        try:
            with_trace = (record.headers or {}).get("traceparent")
            await self._decide(delivery, found, with_trace)
        except Exception as error:
            await self._fault(delivery, found, error)

    async def _decide(self, delivery: Delivery, found: Asked, trace: str | None) -> None:
        said = read_object(delivery.record.payload)
        command, answerer = self._read(said, found)
        found = replace(found, written_id=str(said["message_id"]))
        for _ in range(STALE_TRIES):
            context = self._context(delivery, found)
            try:
                answer = await answerer(command, context)
                if isinstance(answer, Decision):
                    decision, told = answer, entries(answer, command, found, context.now, trace)
                else:
                    decision, told = Decision(), list(answer)
            except BackchannelError as error:
                match verdict_on(error, delivery.attempt):
                    case Tell(error=why):
                        decision, told = Decision(), [refusal(why, command, found, context.now, trace)]
                    case _:
                        raise
            cause = f"{found.agent}:{command.message_id}"
            if decision.repeated or await committed(self._house, told, context.fences, decision, cause):
                await delivery.settle()
                return
        await delivery.retry(0.05)

    def _read(self, said: dict[str, Any], found: Asked) -> tuple[Message, Answerer]:
        """
        Raises:
            Internal: no function answers this type, though its consumer filters by type.
            WrongSender: the message names another sender than its subject.
        """
        command = read_message(said)
        if command.sender_agent_id not in (None, found.agent):
            raise WrongSender(f"{found.agent} may not speak for {command.sender_agent_id}.")
        answerer = self._service.answerers.get(command.type)
        if answerer is None or command.type != found.type:
            raise Internal(f"The service {self._service.name} does not answer {command.type}.")
        return command, answerer

    def _context(self, delivery: Delivery, found: Asked) -> Context:
        claims = _claims((delivery.record.headers or {}).get("Bc-Claims"))
        access = frozenset(claims.get("sidebar_access") or ())
        kind = _kind(found.agent, claims)
        return Context(found, access, self._clock(), self._house, kind, held=claims)

    async def _fault(self, delivery: Delivery, found: Asked, error: Exception) -> None:
        verdict = verdict_on(error, delivery.attempt)
        log.warning(
            "command_failed",
            service=self._service.name,
            sequence=delivery.record.sequence,
            type=found.type,
            agent=found.agent,
            attempt=delivery.attempt,
            verdict=type(verdict).__name__,
            error=str(error),
            exc_info=not isinstance(error, BackchannelError),
        )
        match verdict:
            case Retry(delay=delay):
                await delivery.retry(delay)
            case SetAside(reason=reason):
                await set_aside(self._house, self._service.name, delivery, found, reason, self._clock())
            case Tell(error=why):
                await set_aside(self._house, self._service.name, delivery, found, why.message, self._clock())
