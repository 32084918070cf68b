"""The gate of native doors: what a message passes before it is read, and before anything is done for it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from backchannel.delivery.doors import At, Check, Door, checks, composed
from backchannel.delivery.flow import Flow
from backchannel.delivery.permit import check
from backchannel.domain.settings import Settings
from backchannel.errors import BackchannelError, Forbidden, QueueFull, RateLimited, TooLarge
from backchannel.logger import Logger
from backchannel.protocol.catalog import AnyMessage
from backchannel.protocol.claims import Claims
from backchannel.protocol.identifier import is_identifier
from backchannel.protocol.json_object import read_object
from backchannel.service.freshness import Freshness
from backchannel.service.native.passes import Passes
from backchannel.service.native.refusals import Refusals
from backchannel.service.rights import RightsInForce

log = Logger(__name__)
MESSAGES_PER_SECOND = 200.0
AT_ONCE = 4096
"""Messages of all agents that are being worked on in this process."""

MOST_FLOWS = 10_000
LARGEST: Mapping[Door, int] = {
    Door.NATIVE_PUBLISH: 1_048_576,
    Door.NATIVE_QUERY: 1_048_576,
    Door.NATIVE_PULL: 4_096,
    Door.NATIVE_INFO: 4_096,
    Door.NATIVE_ACK: 256,
}
"""Bytes of one message."""

EACH: Mapping[Door, int] = {
    Door.NATIVE_PUBLISH: 512,
    Door.NATIVE_QUERY: 8,
    Door.NATIVE_PULL: 16,
    Door.NATIVE_INFO: 8,
    Door.NATIVE_ACK: 1,
}
"""Of one agent at a door, under way at a time. An acknowledgement is handed on at once, and never is."""

PUBLISHED_AT_ONCE = 16
"""Of what one agent has under way at the door for commands, so many are being stored, and the others wait for
these. To begin with all of them in one turn of the loop would hold up everybody else."""

VOUCHED = 0.1
"""Seconds for which an agent that might acknowledge a delivery may acknowledge others unasked."""

OnFlood = Callable[[str, str, float], Awaitable[None]]
"""Told group and agent, and for how many seconds it is to be kept out."""


@dataclass(slots=True)
class Attempt:
    """One message at a native door. Group and agent are what the NATS server vouches for.

    `content`, `message` (what takes rights of its own, made of it by `makes`) and `claims` are found by the
    checks that are made before anything is done; until then nothing of the message has been read.
    """

    door: Door
    group: str
    agent: str
    size: int
    payload: bytes = b""
    makes: Callable[[dict[str, Any]], AnyMessage | None] = lambda content: None
    content: dict[str, Any] = field(default_factory=dict)
    message: AnyMessage | None = None
    claims: Claims | None = None


Step = Callable[[Attempt], None]
Place = tuple[Door, str, str]
"""Door, group and agent."""


class Gate:
    """One for each process that keeps native doors. Grows with MOST_FLOWS and with what is under way."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        passes: Passes,
        rights: RightsInForce,
        refusals: Refusals,
        freshness: Freshness,
        on_flood: OnFlood,
    ) -> None:
        self._settings = settings
        self._passes = passes
        self._rights = rights
        self._refusals = refusals
        self._freshness = freshness
        self._on_flood = on_flood
        self._flows: OrderedDict[tuple[str, str], Flow] = OrderedDict()
        self._bytes_per_second = float(settings().limits.agent_bytes_per_second)
        self._under_way: Counter[Place] = Counter()
        self._running: set[asyncio.Task[None]] = set()
        self._storing: dict[Place, asyncio.Semaphore] = {}
        self._vouched: dict[tuple[str, str], float] = {}
        self._closing: dict[tuple[str, str], asyncio.Task[None]] = {}
        before: Mapping[Check, Step] = {
            Check.IDENTITY: self._named,
            Check.PACE: self._paced,
            Check.BYTES: self._bytes,
            Check.ROOM: self._room,
            Check.SIZE: self._size,
        }
        acting: Mapping[Check, Step] = {
            Check.WORK: self._read,
            Check.KEY: self._credential,
            Check.REVOCATION: self._credential,
            Check.RIGHTS: self._permitted,
        }
        self._before = {door: _composed(door, At.MESSAGE, before) for door in EACH}
        self._acting = {door: _composed(door, At.ACT, acting) for door in EACH}

    async def close(self) -> None:
        tasks = [*self._running, *self._closing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- before anything is read

    def lets_pass(self, attempt: Attempt, tell: Callable[[BackchannelError], None] | None = None) -> bool:
        """Whether a message may be read; `tell` is called with why not."""
        if self.closes(attempt.group, attempt.agent):
            return False
        try:
            for step in self._before[attempt.door]:
                step(attempt)
        except BackchannelError as error:
            flow, now = self._flow(attempt), time.monotonic()
            flow.refuse(attempt.size, now)
            self._refusals.note(attempt.group, attempt.agent, attempt.door.value, error)
            if tell is not None:
                tell(error)
            if flow.floods_now:
                self._flood(attempt, flow.flood(now))
            return False
        return True

    def closes(self, group: str, agent: str) -> bool:
        """Whether an agent is kept out because it flooded: what it sent before that is not looked at."""
        return (group, agent) in self._closing or self._passes.barred_for(group, agent) > 0

    def run(self, attempt: Attempt, work: Coroutine[Any, Any, None]) -> None:
        """Work on a message that was let pass; until that ends it counts as under way."""
        place = (attempt.door, attempt.group, attempt.agent)
        self._under_way[place] += 1
        in_turn = self._in_turn(place, work) if attempt.door is Door.NATIVE_PUBLISH else work
        task = asyncio.get_running_loop().create_task(in_turn)
        self._running.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._running.discard(task)
            self._under_way[place] -= 1
            if not self._under_way[place]:
                del self._under_way[place]
                self._storing.pop(place, None)

        task.add_done_callback(done)

    async def _in_turn(self, place: Place, work: Coroutine[Any, Any, None]) -> None:
        turn = self._storing.setdefault(place, asyncio.Semaphore(PUBLISHED_AT_ONCE))
        try:
            await turn.acquire()
        except asyncio.CancelledError:
            work.close()
            raise
        try:
            await work
        finally:
            turn.release()

    def _named(self, attempt: Attempt) -> None:
        if not (is_identifier(attempt.group) and is_identifier(attempt.agent)):
            raise Forbidden("The subject names nobody.")

    def _paced(self, attempt: Attempt) -> None:
        flow = self._flow(attempt)
        bucket = flow.acks if attempt.door is Door.NATIVE_ACK else flow.messages
        if wait := bucket.take(time.monotonic()):
            raise RateLimited(
                f"{attempt.agent} sends more than {MESSAGES_PER_SECOND:g} messages a second.",
                retry_after=round(wait, 3),
            )

    def _bytes(self, attempt: Attempt) -> None:
        flow = self._flow(attempt)
        if wait := flow.size.take(time.monotonic(), min(attempt.size, flow.largest)):
            raise RateLimited(
                f"{attempt.agent} sends more than {self._bytes_per_second:g} bytes a second.",
                retry_after=round(wait, 3),
            )

    def _room(self, attempt: Attempt) -> None:
        if len(self._running) >= AT_ONCE:
            raise QueueFull("Too many messages are being taken in; send it again.", retry_after=0.5)
        most = EACH[attempt.door]
        if self._under_way[attempt.door, attempt.group, attempt.agent] >= most:
            raise QueueFull(f"At most {most} of one agent at a time here; wait for one.", retry_after=0.5)

    def _size(self, attempt: Attempt) -> None:
        if attempt.size > (most := LARGEST[attempt.door]):
            raise TooLarge(f"A message may have {most} bytes here and has {attempt.size}.")

    def _flow(self, attempt: Attempt) -> Flow:
        wanted = self._settings().limits.agent_bytes_per_second
        if wanted != self._bytes_per_second:
            self._bytes_per_second = wanted
            for flow in self._flows.values():
                flow.tune(MESSAGES_PER_SECOND, wanted)
        key = (attempt.group, attempt.agent)
        if key not in self._flows:
            self._flows[key] = Flow.of(MESSAGES_PER_SECOND, wanted)
            if len(self._flows) > MOST_FLOWS:
                self._flows.popitem(last=False)
        self._flows.move_to_end(key)
        return self._flows[key]

    def _flood(self, attempt: Attempt, seconds: float) -> None:
        """Nothing of it is looked at until its connections are closed: reading is what would hurt others."""
        key = (attempt.group, attempt.agent)

        async def close() -> None:
            try:
                await self._on_flood(attempt.group, attempt.agent, seconds)
            finally:
                self._closing.pop(key, None)

        self._closing[key] = asyncio.get_running_loop().create_task(close())

    # ---- before anything is done

    async def lets_act(self, attempt: Attempt) -> Claims:
        """What its sender may do now; what it says is read.

        Raises:
            Refused: it cannot be read, is no such message, its sender has not been let in or may not do this.
            Unavailable: that cannot be found out now.
        """
        await self._freshness.require()
        await self._passes.known(attempt.group, attempt.agent)
        return self._acts(attempt)

    def lets_act_now(self, attempt: Attempt) -> bool:
        """The same where nobody can wait: who is not known here yet is not let."""
        if self._freshness.stale:
            return False
        vouched = self._vouched.get((attempt.group, attempt.agent))
        if vouched is not None and time.monotonic() - vouched < VOUCHED:
            return True
        try:
            self._acts(attempt)
        except BackchannelError as error:
            log.debug("native_settlement_refused", agent=attempt.agent, code=error.code)
            return False
        if len(self._vouched) >= MOST_FLOWS:
            self._vouched.clear()
        self._vouched[attempt.group, attempt.agent] = time.monotonic()
        return True

    def _acts(self, attempt: Attempt) -> Claims:
        try:
            for step in self._acting[attempt.door]:
                step(attempt)
        except BackchannelError as error:
            self._refusals.note(attempt.group, attempt.agent, attempt.door.value, error)
            raise
        assert attempt.claims is not None  # or the first step has raised
        return attempt.claims

    def _read(self, attempt: Attempt) -> None:
        """Raises BadFrame, BadMessage, UnknownType."""
        attempt.content = read_object(attempt.payload or b"{}")
        attempt.message = attempt.makes(attempt.content)

    def _credential(self, attempt: Attempt) -> None:
        """What the tokens of all its connections allow, with the rights in force."""
        claims = self._passes.of(attempt.group, attempt.agent)
        if claims is None:
            raise Forbidden(
                f"{attempt.agent} has not been let in, or its token counts no more; connect again."
            )
        attempt.claims = self._rights.effective(claims)

    def _permitted(self, attempt: Attempt) -> None:
        if attempt.message is not None and attempt.claims is not None:
            check(attempt.message, attempt.claims, "active")


def _composed(door: Door, at: At, steps: Mapping[Check, Step]) -> tuple[Step, ...]:
    """Of these steps, those that the table wants at a door; each has its place at one of the doors."""
    return composed(door, at, {check: steps[check] for check in checks(door, at) if check in steps})
