"""The native door: what agents publish over NATS is checked here, and goes on in the platform's own words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pydantic_core

from backchannel.delivery.doors import Door as Way
from backchannel.delivery.native import agent_of, answer_to
from backchannel.errors import BackchannelError, BadMessage, Unavailable
from backchannel.jetstream.connection import Arrived, Connection, Subscription
from backchannel.logger import Logger
from backchannel.protocol.catalog import AnyMessage, read_message
from backchannel.protocol.json_object import read_object
from backchannel.protocol.subject import Asked, events_stream
from backchannel.service.admit import Sender, command_of
from backchannel.service.follow import refusal
from backchannel.service.house import House
from backchannel.service.native.gate import Attempt, Gate

log = Logger(__name__)
QUEUE = "native"
ANSWER_SECONDS = 5.0
SETTLEMENTS = (b"+ACK", b"-NAK", b"+WPI", b"+TERM")
"""What may be said of a delivery. `+NXT` would have the server deliver past us, and is not among it."""


class Door:
    """One process's share of what native agents of its groups publish, but for reading.

    Args:
        listening: the connection on which agents are heard; a flood of theirs cuts this one and no other.
    """

    def __init__(self, house: House, listening: Connection, gate: Gate) -> None:
        self._house = house
        self._listening = listening
        self._connection = house.connection
        self._gate = gate
        self._subscriptions: list[Subscription] = []

    async def open(self) -> None:
        for group in self._house.groups:
            stream = events_stream(group)
            for subject, take in (
                (f"native.cmd.{group}.*.*.*", self._commanded),
                (f"native.info.{stream}.*", self._informed),
                (f"native.ack.{stream}.*.*.*.*.*.*", self._settled),
            ):
                self._subscriptions.append(await self._listening.subscribe(subject, take, queue=QUEUE))

    async def close(self) -> None:
        for subscription in self._subscriptions:
            subscription.close()

    # ---- commands

    def _commanded(self, request: Arrived) -> None:
        _, _, group, lane, agent, kind = request.subject.split(".")
        if self._gate.closes(group, agent):
            return
        found = Asked(group, lane, agent, kind)
        attempt = Attempt(
            Way.NATIVE_PUBLISH,
            group,
            agent,
            size_of(request),
            request.payload,
            lambda said: _meant(found, said),
        )
        to = answer_to(agent, request.reply) if request.reply else ""

        def tell(error: BackchannelError) -> None:
            if to:
                self._emit(to, _refusal(error))

        if self._gate.lets_pass(attempt, tell) and to is not None:  # an answer would go to somebody else
            self._gate.run(attempt, self._command(found, attempt, request, to))

    async def _command(self, found: Asked, attempt: Attempt, request: Arrived, to: str) -> None:
        try:
            stored = await self._take(found, attempt, request)
        except BackchannelError as error:
            await self._refuse(found, request, error, to)
            return
        if to:
            self._emit(to, {"stream": stored.stream, "seq": stored.sequence, "duplicate": stored.duplicate})

    async def _take(self, found: Asked, attempt: Attempt, request: Arrived) -> Any:
        """Have it stored as a command, with what the platform knows of its sender."""
        claims = await self._gate.lets_act(attempt)
        message = attempt.message
        assert message is not None
        named = (request.headers or {}).get("Nats-Msg-Id")
        if named not in (None, f"{found.agent}:{message.message_id}"):
            raise BadMessage(
                f"Its Nats-Msg-Id must be '{found.agent}:' and its message_id.", field="message_id"
            )
        return await self._house.publisher.store(command_of(Sender(claims), attempt.content, message))

    async def _refuse(self, found: Asked, request: Arrived, error: BackchannelError, to: str) -> None:
        """Told like JetStream tells it; who did not wait for an answer finds it in its inbox."""
        if to:
            self._emit(to, _refusal(error))
            return
        try:
            message = read_message(read_object(request.payload))
            await self._house.publisher.store(refusal(error, message, found, datetime.now(UTC), None))
        except BackchannelError:
            log.debug("native_message_refused", agent=found.agent, code=error.code)  # on record all the same

    # ---- the consumer

    def _informed(self, request: Arrived) -> None:
        _, _, stream, consumer = request.subject.split(".")
        agent = agent_of(consumer)
        if self._gate.closes(group_of(stream), agent):
            return
        attempt = Attempt(Way.NATIVE_INFO, group_of(stream), agent, size_of(request))
        to = answer_to(agent, request.reply)
        if self._gate.lets_pass(attempt) and to is not None:
            self._gate.run(attempt, self._inform(attempt, f"$JS.API.CONSUMER.INFO.{stream}.{consumer}", to))

    async def _inform(self, attempt: Attempt, subject: str, to: str) -> None:
        try:
            await self._gate.lets_act(attempt)
            reply = await self._connection.request(subject, timeout=ANSWER_SECONDS)
        except BackchannelError as error:
            log.warning("native_question_failed", error=error.message)
        else:
            self._emit(to, reply.payload)

    def _settled(self, request: Arrived) -> None:
        """A word on a delivery, handed on if it is one of those that concern this delivery alone. One that is
        not handed on is delivered again, to whoever may have it then."""
        _, _, stream, consumer, _ = request.subject.split(".", 4)
        agent, word = agent_of(consumer), request.payload or b"+ACK"
        if self._gate.closes(group_of(stream), agent):
            return
        attempt = Attempt(Way.NATIVE_ACK, group_of(stream), agent, size_of(request))
        to = answer_to(agent, request.reply) if request.reply else ""
        if not self._gate.lets_pass(attempt) or to is None or not word.startswith(SETTLEMENTS):
            return
        if self._gate.lets_act_now(attempt):
            self._emit(f"$JS.ACK.{request.subject.removeprefix('native.ack.')}", word, to)

    # ---- below

    def _emit(self, subject: str, content: Any, reply: str = "") -> None:
        payload = content if isinstance(content, bytes) else pydantic_core.to_json(content)
        try:
            self._connection.emit(subject, payload, reply=reply)
        except (Unavailable, BadMessage) as error:
            log.warning("native_answer_lost", error=error.message)


def _meant(found: Asked, content: dict[str, Any]) -> AnyMessage:
    """The message, which must be what its subject says. Raises BadMessage, UnknownType."""
    message = read_message(content)
    if message.type != found.type:
        raise BadMessage(f"The subject says {found.type!r} and the message {message.type!r}.", field="type")
    if message.lane != found.lane:
        raise BadMessage(
            f"This message travels in the lane {message.lane.value}; publish it there.", field="priority"
        )
    return message


def size_of(request: Arrived) -> int:
    """Bytes of a message, its headers included."""
    return len(request.head) + len(request.payload)


def group_of(stream: str) -> str:
    """Whose log a stream is."""
    return stream.removeprefix(events_stream(""))


def _refusal(error: BackchannelError) -> dict[str, Any]:
    """In the shape in which JetStream says that it did not store something."""
    code = {"rate_limited": 429, "queue_full": 429, "unavailable": 503, "internal": 500}.get(error.code, 400)
    told = {"code": code, "err_code": 0, "description": f"{error.code}: {error.message}"}
    return {"error": told, "stream": "", "seq": 0}
