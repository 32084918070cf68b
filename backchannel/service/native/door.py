"""The native door: what agents publish over NATS is checked here, and goes on in the platform's own words."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

import pydantic_core

from backchannel.delivery.native import agent_of, answer_to
from backchannel.delivery.pace import TokenBucket
from backchannel.delivery.permit import check
from backchannel.errors import (
    BackchannelError,
    BadMessage,
    Forbidden,
    QueueFull,
    RateLimited,
    TooLarge,
    Unavailable,
)
from backchannel.jetstream.connection import Arrived, Subscription
from backchannel.logger import Logger
from backchannel.protocol.catalog import read_message
from backchannel.protocol.claims import Claims
from backchannel.protocol.json_object import read_object
from backchannel.protocol.subject import Asked, events_stream
from backchannel.service.admit import Sender, command_of
from backchannel.service.follow import refusal
from backchannel.service.house import House
from backchannel.service.native.passes import Passes
from backchannel.service.rights import RightsInForce

log = Logger(__name__)
QUEUE = "native"
AT_ONCE = 1024
LARGEST = 1_048_576
MESSAGES_PER_SECOND = 200.0
BURST_SECONDS = 5.0
MOST_PACES = 10_000
ANSWER_SECONDS = 5.0
SETTLEMENTS = (b"+ACK", b"-NAK", b"+WPI", b"+TERM")
"""What may be said of a delivery. `+NXT` would have the server deliver past us, and is not among it."""


class Door:
    """One process's share of what native agents of its groups publish, but for reading."""

    def __init__(self, house: House, passes: Passes, rights: RightsInForce) -> None:
        self._house = house
        self._rights = rights
        self._connection = house.connection
        self._passes = passes
        self._paces: OrderedDict[str, TokenBucket] = OrderedDict()
        self._running: set[asyncio.Task[None]] = set()
        self._subscriptions: list[Subscription] = []

    async def open(self) -> None:
        for group in self._house.groups:
            stream = events_stream(group)
            for subject, take in (
                (f"native.cmd.{group}.*.*.*", self._commanded),
                (f"native.info.{stream}.*", self._informed),
                (f"native.ack.{stream}.*.*.*.*.*.*", self._settled),
            ):
                self._subscriptions.append(await self._connection.subscribe(subject, take, queue=QUEUE))

    async def close(self) -> None:
        for subscription in self._subscriptions:
            subscription.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    # ---- commands

    def _commanded(self, request: Arrived) -> None:
        _, _, group, lane, agent, kind = request.subject.split(".")
        to = answer_to(agent, request.reply) if request.reply else None
        if request.reply and to is None:
            log.warning("native_reply_subject_refused", agent=agent)
            return
        try:
            self.require_pace(group, agent)
            self._require_room()
        except (RateLimited, QueueFull) as error:
            if to is not None:
                self._emit(to, _refusal(error))
            return
        self._run(self._command(Asked(group, lane, agent, kind), request, to))

    async def _command(self, found: Asked, request: Arrived, to: str | None) -> None:
        try:
            stored = await self._take(found, request)
        except BackchannelError as error:
            await self._refuse(found, request, error, to)
            return
        if to is not None:
            self._emit(to, {"stream": stored.stream, "seq": stored.sequence, "duplicate": stored.duplicate})

    async def _take(self, found: Asked, request: Arrived) -> Any:
        """Have it stored as a command, with what the platform knows of its sender."""
        if len(request.payload) > LARGEST:
            raise TooLarge(f"A message may have {LARGEST} bytes and has {len(request.payload)}.")
        claims = await self.claims_of(found.group, found.agent)
        content = read_object(request.payload)
        message = read_message(content)
        if message.type != found.type:
            raise BadMessage(
                f"The subject says {found.type!r} and the message {message.type!r}.", field="type"
            )
        if message.lane != found.lane:
            raise BadMessage(
                f"This message travels in the lane {message.lane.value}; publish it there.", field="priority"
            )
        check(message, claims, "active")
        named = (request.headers or {}).get("Nats-Msg-Id")
        if named not in (None, f"{found.agent}:{message.message_id}"):
            raise BadMessage(
                f"Its Nats-Msg-Id must be '{found.agent}:' and its message_id.", field="message_id"
            )
        return await self._house.publisher.store(command_of(Sender(claims), content, message))

    def _require_room(self) -> None:
        if len(self._running) >= AT_ONCE:
            raise QueueFull("Too many messages are being taken in; send it again.", retry_after=0.5)

    def require_pace(self, group: str, agent: str) -> None:
        """Raises RateLimited."""
        key = f"{group}.{agent}"
        pace = self._paces.get(key)
        if pace is None:
            pace = self._paces[key] = TokenBucket(MESSAGES_PER_SECOND, MESSAGES_PER_SECOND * BURST_SECONDS)
            if len(self._paces) > MOST_PACES:
                self._paces.popitem(last=False)
        self._paces.move_to_end(key)
        if wait := pace.take(time.monotonic()):
            raise RateLimited(
                f"{agent} sends more than {MESSAGES_PER_SECOND:g} messages a second.",
                retry_after=round(wait, 3),
            )

    async def claims_of(self, group: str, agent: str) -> Claims:
        """What it may do now. Raises Forbidden for who has not been let in."""
        claims = await self._passes.of(group, agent)
        if claims is None:
            raise Forbidden(f"{agent} has not been let in, or its token has expired; connect again.")
        return self._rights.effective(claims)

    async def _refuse(self, found: Asked, request: Arrived, error: BackchannelError, to: str | None) -> None:
        """Told like JetStream tells it; who did not wait for an answer finds it in its inbox."""
        if to is not None:
            self._emit(to, _refusal(error))
            return
        try:
            message = read_message(read_object(request.payload))
            await self._house.publisher.store(refusal(error, message, found, datetime.now(UTC), None))
        except BackchannelError:
            log.warning("native_message_refused", agent=found.agent, code=error.code)

    # ---- the consumer

    def _informed(self, request: Arrived) -> None:
        _, _, stream, consumer = request.subject.split(".")
        to = answer_to(agent_of(consumer), request.reply)
        if to is not None:
            self._run(self._inform(f"$JS.API.CONSUMER.INFO.{stream}.{consumer}", to))

    async def _inform(self, subject: str, to: str) -> None:
        try:
            reply = await self._connection.request(subject, timeout=ANSWER_SECONDS)
        except BackchannelError as error:
            log.warning("native_question_failed", error=error.message)
        else:
            self._emit(to, reply.payload)

    def _settled(self, request: Arrived) -> None:
        """A word on a delivery, handed on if it is one of those that concern this delivery alone."""
        word = request.payload or b"+ACK"
        to = answer_to(agent_of(request.subject.split(".")[3]), request.reply) if request.reply else ""
        if to is not None and len(word) < 256 and word.startswith(SETTLEMENTS):
            self._emit(f"$JS.ACK.{request.subject.removeprefix('native.ack.')}", word, to)

    # ---- below

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        if len(self._running) >= AT_ONCE:
            work.close()  # the sender hears nothing and comes again with the same id
            return
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _emit(self, subject: str, content: Any, reply: str = "") -> None:
        payload = content if isinstance(content, bytes) else pydantic_core.to_json(content)
        try:
            self._connection.emit(subject, payload, reply=reply)
        except (Unavailable, BadMessage) as error:
            log.warning("native_answer_lost", error=error.message)


def _refusal(error: BackchannelError) -> dict[str, Any]:
    """In the shape in which JetStream says that it did not store something."""
    code = {"rate_limited": 429, "queue_full": 429, "unavailable": 503, "internal": 500}.get(error.code, 400)
    told = {"code": code, "err_code": 0, "description": f"{error.code}: {error.message}"}
    return {"error": told, "stream": "", "seq": 0}
