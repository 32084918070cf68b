"""Runs services: takes commands lane by lane, decides them, commits what follows, settles."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pydantic_core

from backchannel.domain.decision import Decision
from backchannel.errors import BackchannelError, Internal, WrongSender
from backchannel.jetstream.record import Record
from backchannel.jetstream.work import Delivery, Work
from backchannel.logger import Logger
from backchannel.protocol.catalog import read_message
from backchannel.protocol.identifier import OPERATOR
from backchannel.protocol.json_object import read_object
from backchannel.protocol.lane import LANES, Lane
from backchannel.protocol.message import Message
from backchannel.protocol.subject import COMMANDS, Asked, asked, command_subject
from backchannel.service.ahead import Ahead
from backchannel.service.commit import STALE_TRIES, Outcome, committed, committed_together
from backchannel.service.context import Context
from backchannel.service.declare import Answerer, Service
from backchannel.service.follow import entries, refusal
from backchannel.service.house import House
from backchannel.service.overtake import Overtaking
from backchannel.service.setaside import set_aside
from backchannel.service.verdict import Retry, SetAside, Tell, verdict_on

log = Logger(__name__)

Clock = Callable[[], datetime]
LAST_WORD = 1.0
"""Seconds in which what was done last is settled when the process ends; else it comes again."""


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


def _asked(record: Record) -> Asked:
    found = asked(record.subject)
    assert found is not None  # the consumer's filters have this very form
    return found


def _trace(record: Record) -> str | None:
    return (record.headers or {}).get("traceparent")


class Runner:
    """One service's commands in one group, each lane by itself, so that no lane ever waits for a lower one.

    Within a lane commands are taken one at a time, also when several processes run the service: what an
    agent asks first is decided first, whatever dies in between. Where the service allows that, the first
    commands of other senders are decided with the one whose turn it is.
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
        kinds, beside = self._service.answerers.keys(), self._service.beside
        ahead = Ahead(self._house.connection, self._group, lane, kinds, beside)
        overtaking = Overtaking(self._house.connection, self._group, lane, kinds, ahead.knows)
        work = await self._open(lane)
        settling: asyncio.Task[None] | None = None
        try:
            while True:
                delivery = await work.take()
                try:
                    await self._decide_before(delivery, ahead, overtaking)
                    if await self._handle(delivery, ahead):
                        if settling is not None:
                            await settling
                        settling = asyncio.create_task(delivery.settle())
                finally:
                    delivery.let_go()  # cut off in the middle, it must come again, to us or to others
        finally:
            if settling is not None:
                await asyncio.wait([settling], timeout=LAST_WORD)
                settling.cancel()
            await work.close()

    async def _open(self, lane: Lane) -> Work:
        """A consumer of this group's own: a process takes nothing of a group that it does not serve."""
        kinds = sorted(self._service.answerers)
        filters = [command_subject(self._group, lane, "*", kind) for kind in kinds]
        name = f"{self._service.name}-{self._group}-{lane}"
        return await Work.open(self._house.connection, COMMANDS, name, filters, max_ack_pending=1)

    async def _decide_before(self, delivery: Delivery, ahead: Ahead, overtaking: Overtaking) -> None:
        """Where one sender has much waiting, nobody else waits for all of it. Raises nothing but the end.

        One at a time, like all of the lane. What is refused now, or cannot be decided, is decided in its
        turn: it may build on what was asked before it.
        """
        try:
            others = await overtaking.before(delivery.record, delivery.behind)
        except BackchannelError as error:  # then each is decided when its turn comes
            log.info("nothing_overtakes", service=self._service.name, error=error.message)
            return
        for record in others:
            try:
                outcome = await self._answered(record)
                if outcome.decision.repeated or await committed(self._house, outcome):
                    ahead.note(record)
            except Exception as error:
                log.debug("not_decided_before", sequence=record.sequence, error=str(error))
            overtaking.tried(record)

    async def _handle(self, delivery: Delivery, ahead: Ahead) -> bool:
        """Decide one command. Whether it is done; else the final word is said. Raises nothing but the end."""
        record = delivery.record
        if ahead.was_decided(record):
            return True
        try:
            return await self._decide(delivery, ahead)
        except Exception as error:
            await self._fault(delivery, _asked(record), error)
            return False

    async def _decide(self, delivery: Delivery, ahead: Ahead) -> bool:
        record = delivery.record
        others = await self._others(delivery, ahead)
        if others and await self._together(record, delivery.attempt, others, ahead):
            return True
        for _ in range(STALE_TRIES):
            outcome = await self._outcome(record, delivery.attempt)
            if outcome.decision.repeated or await committed(self._house, outcome):
                return True
        await delivery.retry(0.05)
        return False

    async def _others(self, delivery: Delivery, ahead: Ahead) -> list[Record]:
        try:
            return await ahead.beside_of(delivery.record, delivery.behind)
        except BackchannelError as error:  # then each is decided when its turn comes
            log.info("nothing_decided_ahead", service=self._service.name, error=error.message)
            return []

    async def _together(self, head: Record, attempt: int, others: Sequence[Record], ahead: Ahead) -> bool:
        """Decide commands of different senders at once; whether the first, whose turn it is, is done.

        What cannot be decided or is refused, and what others wrote meanwhile, is left until its turn comes.
        """
        outcome, *found = await asyncio.gather(
            self._outcome(head, attempt),
            *(self._answered(record) for record in others),
            return_exceptions=True,
        )
        if isinstance(outcome, BaseException):
            raise outcome
        made = [(record, one) for record, one in zip(others, found, strict=True) if isinstance(one, Outcome)]
        for record, _ in [one for one in made if one[1].decision.repeated]:
            ahead.note(record)
        fresh = [(record, one) for record, one in [(head, outcome), *made] if not one.decision.repeated]
        stored = await committed_together(self._house, [one for _, one in fresh])
        done = [record for (record, _), kept in zip(fresh, stored, strict=True) if kept]
        for record in done:
            ahead.note(record)
        return outcome.decision.repeated or head in done

    async def _outcome(self, record: Record, attempt: int) -> Outcome:
        """What comes of a command, also if that is a refusal.

        Raises:
            BackchannelError: it cannot be decided now.
        """
        try:
            return await self._answered(record)
        except BackchannelError as error:
            match verdict_on(error, attempt):
                case Tell(error=why):
                    return self._refused(record, why)
            raise

    async def _answered(self, record: Record) -> Outcome:
        said = read_object(record.payload)
        command, answerer, found = self._read(said, _asked(record))
        context = self._context(record, found)
        payer = None if context.kind == OPERATOR else (found.group, found.agent)
        if payer is not None:
            self._house.budget.require(payer, time.time())
        answer = await answerer(command, context)
        cause = f"{found.agent}:{command.message_id}"
        if not isinstance(answer, Decision):
            return Outcome(Decision(), list(answer), context.fences, cause, payer)
        told = [] if answer.repeated else entries(answer, command, found, context.now, _trace(record))
        return Outcome(answer, told, context.fences, cause, payer)

    def _refused(self, record: Record, why: BackchannelError) -> Outcome:
        command, _, found = self._read(read_object(record.payload), _asked(record))
        told = [refusal(why, command, found, self._clock(), _trace(record))]
        cause = f"{found.agent}:{command.message_id}"
        return Outcome(Decision(), told, (), cause, (found.group, found.agent))

    def _read(self, said: dict[str, Any], found: Asked) -> tuple[Message, Answerer, Asked]:
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
        return command, answerer, replace(found, written_id=str(said["message_id"]))

    def _context(self, record: Record, found: Asked) -> Context:
        claims = _claims((record.headers or {}).get("Bc-Claims"))
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
