"""Everybody's readers of one group: pulls of native agents wait here until there is something to hand out."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

import pydantic_core

from backchannel.delivery.audience import Membership, life
from backchannel.delivery.doors import Door as Way
from backchannel.delivery.horizon import Horizon
from backchannel.delivery.native import agent_of, answer_to
from backchannel.errors import BackchannelError, BadMessage, Forbidden, Refused
from backchannel.jetstream.connection import Arrived, Connection, Subscription
from backchannel.jetstream.read import StreamFacts, last
from backchannel.jetstream.record import Record
from backchannel.jetstream.tail import Tail
from backchannel.logger import Logger
from backchannel.protocol.json_object import read_object
from backchannel.protocol.subject import InContext, InInbox, events_stream, lives, locate
from backchannel.service.house import House
from backchannel.service.native.door import size_of
from backchannel.service.native.gate import Attempt, Gate
from backchannel.service.native.passes import Passes
from backchannel.service.native.reader import Reader

log = Logger(__name__)
REACH = 5.0
LONGEST = 60.0
"""Seconds a pull waits at most, also when it names no end."""
MOST_READERS = 4096
SETTLING = (0.002, 0.01, 0.05, 0.2)
"""What is published is in the log a moment later; seconds between looks for it."""
AGAIN = 1.0
NONE, BAD, OVER, BEAT, TOO_MANY = (
    b"404 No Messages",
    b"400 Bad Request",
    b"408 Request Timeout",
    b"100 Idle Heartbeat",
    b"409 Exceeded MaxWaiting",
)


@dataclass(slots=True)
class Pull:
    """What an agent asks for: `left` messages to `to`, until `end` (seconds of the loop)."""

    agent: str
    to: str
    left: int
    end: float
    beat: float | None


class Readers:
    """Of one group, in the one process that reads for it."""

    def __init__(self, house: House, listening: Connection, group: str, passes: Passes, gate: Gate) -> None:
        self._listening = listening
        self._gate = gate
        self._connection = house.connection
        self._group = group
        self._passes = passes
        self._stream = events_stream(group)
        self._membership = Membership()
        self._readers: dict[str, Reader] = {}
        self._waiting: Counter[str] = Counter()
        self._woken: dict[str, asyncio.Event] = {}
        self._loop = asyncio.get_running_loop()
        self._tail = Tail(
            self._connection,
            self._stream,
            after=0,
            on_record=self._lived,
            filters=(lives(group),),
            on_replaced=self._replaced,
        )
        self._gone = asyncio.Event()
        self._over = False
        self._changed: set[str] = set()
        self._anything_changed = asyncio.Event()
        self.opened = asyncio.Event()

    async def run(self) -> None:
        """Read for the group until the log is another one; then it must be begun anew."""
        await self._tail.start()
        subscriptions = [
            await self._listening.subscribe(f"native.next.{self._stream}.*", self._pulled),
            await self._connection.subscribe(f"bc.{self._group}.evt.>", self._happened),
        ]
        self._passes.on_change(self._came_or_went)
        narrowing = self._loop.create_task(self._narrow_all())
        self.opened.set()
        try:
            await self._gone.wait()
        finally:
            narrowing.cancel()
            await asyncio.gather(narrowing, return_exceptions=True)
            await self._end(subscriptions)

    async def _end(self, subscriptions: list[Subscription]) -> None:
        self._passes.forget_change(self._came_or_went)
        for subscription in subscriptions:
            subscription.close()
        self._over = True
        for one in self._woken.values():
            one.set()
        await self._tail.stop()

    def _replaced(self, facts: StreamFacts) -> None:
        self._gone.set()

    def _lived(self, record: Record) -> None:
        located = locate(record.subject)
        if located is None or not isinstance(located.to, InContext):
            return
        try:
            event = life(read_object(record.payload))
        except BackchannelError:
            return
        self._membership.fold(record.sequence, located.to.context_id, event)

    async def _horizon_of(self, agent: str, born: int) -> Horizon:
        """As of all that is in the log now."""
        newest = await last(self._connection, self._stream, lives(self._group))
        if newest is not None:
            await self._tail.reached(newest.sequence, REACH)
        await self._passes.known(self._group, agent)
        claims = self._passes.of(self._group, agent)
        if claims is None:
            raise Forbidden(f"{agent} has not been let in, or its token counts no more; connect again.")
        return Horizon(born, self._membership.stretches_of(agent), tuple(claims.sidebar_access))

    # ---- what tokens no longer give

    def _came_or_went(self, group: str, agent: str) -> None:
        """With a connection of an agent, what all of them are allowed may become less."""
        if group == self._group and len(self._changed) < MOST_READERS:  # a pull puts it right as well
            self._changed.add(agent)
            self._anything_changed.set()

    async def _narrow_all(self) -> None:
        while True:
            await self._anything_changed.wait()
            self._anything_changed.clear()
            while self._changed:
                agent = self._changed.pop()
                try:
                    await self._reader(agent).narrow(partial(self._now_of, agent))
                except BackchannelError as error:
                    log.debug("native_consumer_not_narrowed", agent=agent, error=error.message)

    async def _now_of(self, agent: str, born: int) -> Horizon:
        """The same for somebody who may have no connection any more, and so sees nothing by a token."""
        try:
            return await self._horizon_of(agent, born)
        except Forbidden:
            return Horizon(born, self._membership.stretches_of(agent))

    def _reader(self, agent: str) -> Reader:
        reader = self._readers.get(agent)
        if reader is None:
            if len(self._readers) >= MOST_READERS:
                idle = [name for name in self._readers if not self._waiting[name]]
                for name in idle[:1]:
                    del self._readers[name]

            def horizon(born: int) -> asyncio.Future[Horizon]:
                return asyncio.ensure_future(self._horizon_of(agent, born))

            reader = self._readers[agent] = Reader(self._connection, self._group, agent, horizon)
        return reader

    # ---- pulls

    def _pulled(self, request: Arrived) -> None:
        agent = agent_of(request.subject.rpartition(".")[2])
        if self._gate.closes(self._group, agent):
            return
        to = answer_to(agent, request.reply) if request.reply else None
        attempt = Attempt(Way.NATIVE_PULL, self._group, agent, size_of(request))

        def tell(error: BackchannelError) -> None:
            if to is not None:
                self._say(to, TOO_MANY)

        if not self._gate.lets_pass(attempt, tell) or to is None:
            return
        try:
            pull = self._read(agent, to, request.payload)
        except BadMessage:
            self._say(to, BAD)
            return
        self._waiting[agent] += 1
        self._gate.run(attempt, self._serve(attempt, pull))

    def _read(self, agent: str, to: str, payload: bytes) -> Pull:
        """A number, or JSON as JetStream takes it. Raises BadMessage."""
        try:
            asked = pydantic_core.from_json(payload) if payload.strip() else 1
        except ValueError:
            raise BadMessage("A pull is a number or a JSON object.") from None
        if isinstance(asked, int) and not isinstance(asked, bool):
            asked = {"batch": asked}
        if not isinstance(asked, dict):
            raise BadMessage("A pull is a number or a JSON object.")
        batch = min(max(_number(asked, "batch"), 1), 10_000)
        expires = min(_number(asked, "expires") / 1e9, LONGEST)
        if not expires:
            expires = 0.0 if asked.get("no_wait") is True else LONGEST
        beat = min(_number(asked, "idle_heartbeat") / 1e9, LONGEST)
        return Pull(agent, to, batch, self._loop.time() + expires, max(beat, 0.1) if beat else None)

    async def _serve(self, attempt: Attempt, pull: Pull) -> None:
        try:
            await self._gate.lets_act(attempt)
            await self._hand_out(pull)
        except Refused:  # which is on record
            self._say(pull.to, OVER)
        except BackchannelError as error:
            log.warning("native_pull_failed", agent=pull.agent, error=error.message)
            self._say(pull.to, OVER)
        except Exception:
            log.exception("native_pull_failed", agent=pull.agent)
        finally:
            self._waiting[pull.agent] -= 1
            if not self._waiting[pull.agent]:
                del self._waiting[pull.agent]
                self._woken.pop(pull.agent, None)

    async def _hand_out(self, pull: Pull) -> None:
        reader = self._reader(pull.agent)
        given, looks, repeated = 0, 0, 0.0
        while pull.left and not self._over:
            woken = self._woken.setdefault(pull.agent, asyncio.Event())
            woken.clear()
            number = await reader.release(pull.to, pull.left)
            if number == 0 and self._loop.time() >= repeated:
                repeated = self._loop.time() + AGAIN
                number = await reader.repeat(pull.to)
            if number is None:
                return
            if number:
                pull.left, given, looks = pull.left - number, given + number, 0
                continue
            now = self._loop.time()
            if now >= pull.end:
                self._say(pull.to, OVER if given or pull.end else NONE)
                return
            looks = await self._wait(pull, woken, looks)

    async def _wait(self, pull: Pull, woken: asyncio.Event, looks: int) -> int:
        """Until something may have come, or it is time for a heartbeat or the end."""
        settling = 0 < looks <= len(SETTLING)
        longest = SETTLING[looks - 1] if settling else min(AGAIN, pull.beat or AGAIN)
        try:
            async with asyncio.timeout(min(longest, max(pull.end - self._loop.time(), 0.001))):
                await woken.wait()
        except TimeoutError:
            if pull.beat is not None and not settling:
                self._say(pull.to, BEAT)
            return looks + 1 if settling else 0
        return 1

    def _say(self, to: str, status: bytes) -> None:
        try:
            self._connection.emit(to, b"", b"NATS/1.0 " + status + b"\r\n\r\n")
        except BackchannelError as error:
            log.debug("native_status_lost", error=error.message)

    def _happened(self, event: Arrived) -> None:
        """Somebody publishes to the log: whoever waits and may be meant looks there."""
        if not self._woken:
            return
        located = locate(event.subject)
        if located is not None and isinstance(located.to, InInbox):
            if (one := self._woken.get(located.to.agent_id)) is not None:
                one.set()
            return
        for one in self._woken.values():
            one.set()


def _number(asked: dict[str, Any], name: str) -> int:
    """A count or a duration in nanoseconds; 0 where there is none. Raises BadMessage."""
    value = asked.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadMessage(f"{name!r} is a whole number from 0 up.", field=name)
    return value
