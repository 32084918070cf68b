"""Arrival: from a client's hello to its first live event."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import structlog

from backchannel.delivery.cursor import Continue, Cursor, Gap, place
from backchannel.delivery.outbox import Bounds
from backchannel.delivery.session import State
from backchannel.errors import BackchannelError, BadMessage, Conflict, Forbidden, Unavailable
from backchannel.protocol.claims import Claims
from backchannel.protocol.frame import CloseCode, Hello, Welcome
from backchannel.protocol.frame import Limits as SaidLimits
from backchannel.protocol.message import rfc3339
from bridge.feed import Feed
from bridge.peer import Peer
from bridge.positions import Holding, Kept, Place, SessionReused, Standing
from bridge.presence import lease
from bridge.replay import Plan, Replay

if TYPE_CHECKING:
    from bridge.house import House

security = structlog.get_logger("bridge.security")
HUMAN_QUEUE = 50
ANSWER_SECONDS = 2.0
"""How long a connection may take to show that it is there before it gives way to a newer one."""

PATIENCE = 8.0
"""How long a client waits at the door while the log cannot be reached; a restart takes less."""

TRIES = 10
Outcome = Literal["resumed", "gap", "live_only"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Course:
    """How a client goes on: from where, what it is told, and what is kept of it."""

    plan: Plan
    outcome: Outcome
    standing: Standing
    failure: str | None = None


class TurnedAway(Exception):
    """The client may not come in; it is told `error`, and why it is closed."""

    def __init__(self, error: BackchannelError, code: int, reason: str) -> None:
        super().__init__(reason)
        self.error, self.code, self.reason = error, code, reason


@dataclass(slots=True)
class Arrival:
    """One client on its way in."""

    house: House
    peer: Peer
    hello: Hello
    claims: Claims
    feed: Feed

    async def run(self) -> None:
        """Until the client is welcome; its replay goes on by itself."""
        replay = await self._turning_away(self._come_in())
        if replay is not None:
            self.peer.run(self._catch_up(replay))

    async def _catch_up(self, replay: Replay) -> None:
        if await self._turning_away(replay.run()) is not None:
            self.peer.say({"type": "live"})

    async def _turning_away(self, work: Awaitable[T]) -> T | None:
        """What it comes to; None if the client had to be turned away."""
        try:
            return await work
        except TurnedAway as refusal:
            self.peer.turn_away(refusal.error, refusal.code, refusal.reason)
        except BadMessage as error:
            self.peer.turn_away(error, CloseCode.BAD_HELLO, "bad hello")
        except BackchannelError as error:
            self.peer.turn_away(error, CloseCode.OVERLOADED, "try again soon")
        return None

    async def _come_in(self) -> Replay:
        await self._make_room()
        await self._patiently(lambda: self.house.directory.register(self.claims, self.hello.intake))
        await self._patiently(self._show)
        holding, course = await self._patiently(self._take_place)
        return await self._welcome(holding, course)

    # ---- room

    async def _make_room(self) -> None:
        """Let the connection in beside the others of its agent, or in the place of one."""
        group, agent = self.peer.owner
        self.peer.purpose = self.hello.purpose
        if await self._patiently(self._resumes):
            self._replace()
        while rivals := self.house.roster.rivals(group, agent, active=self.peer.active):
            answers = [await rival.answers(ANSWER_SECONDS) for rival in rivals]
            self._require_here()
            silent = [rival for rival, there in zip(rivals, answers, strict=True) if not there]
            if not silent:
                raise self._one_too_many()
            self.house.replace(silent[0], "it did not answer, and a newer connection came")
        self._require_here()
        self.peer.purpose = self.house.roster.purpose(
            group, agent, self.hello.purpose, active=self.peer.active
        )
        self.house.enter(self.peer)

    async def _resumes(self) -> bool:
        """Whether it shows the current session token. An old or foreign one is a suspected hijack."""
        session = self.hello.resume.session if self.hello.resume else None
        if session is None:
            return False
        kept = await self.house.positions.look(self._place(self._wanted_purpose()))
        if kept.standing is None:
            return False
        if kept.standing.recognises(session):
            return True
        raise self._reused()

    def _wanted_purpose(self) -> str:
        """The purpose whose session is resumed: as if nobody else were here."""
        wanted = self.hello.purpose
        return "observer" if wanted == "primary" and not self.peer.active else wanted

    def _replace(self) -> None:
        """The old connection of this session ends."""
        purpose = self._wanted_purpose()
        group, agent = self.peer.owner
        for present in self.house.roster.of(group, agent):
            if present.purpose == purpose:
                self.house.replace(present, "a newer connection resumed this session")

    def _one_too_many(self) -> TurnedAway:
        security.warning("one_connection_too_many", agent=self.claims.sub, remote=self.peer.wire.remote)
        error = Forbidden(
            f"{self.claims.sub} is connected already and answers; resume its session, or close it first."
        )
        return TurnedAway(error, CloseCode.REPLACED, "one connection too many")

    def _reused(self) -> TurnedAway:
        security.warning("session_token_reused", agent=self.claims.sub, remote=self.peer.wire.remote)
        error = SessionReused("This session token is not the current one; connect without it.")
        return TurnedAway(error, CloseCode.SESSION_REUSED, "session token reused")

    # ---- place

    def _place(self, purpose: str) -> Place:
        return Place(self.feed.group, self.claims.sub, purpose)

    async def _show(self) -> None:
        said = {
            "permission": self.hello.permission,
            "purpose": self.peer.purpose,
            "since": rfc3339(datetime.now(UTC)),
        }
        held = lease(self.feed.group, self.claims.sub, self.peer.wire.connection_id, said)
        self.peer.lease = held.key
        await self.house.presence.add(held)

    async def _take_place(self) -> tuple[Holding, Course]:
        """Decide where to go on, and take the position with a new session token."""
        resume = self.hello.resume
        where = self._place(self.peer.purpose)
        for _ in range(TRIES):
            kept = await self.house.positions.look(where)
            presented = self._presented(kept)
            course = await self._course(kept, resume.cursor if resume else None)
            try:
                holding = await self.house.positions.claim(where, kept, course.standing, presented)
            except Conflict:
                continue
            if presented is not None:
                await self.house.successors.announce(holding)
            return holding, course
        raise Unavailable("Too many connections of this agent come and go; try again.", retry_after=1.0)

    def _presented(self, kept: Kept) -> str | None:
        session = self.hello.resume.session if self.hello.resume else None
        if session is None or kept.standing is None:
            return None
        if kept.standing.recognises(session):
            return session
        if self.peer.purpose != self._wanted_purpose():
            return None
        raise self._reused()

    async def _course(self, kept: Kept, text: str | None) -> Course:
        standing = kept.standing
        if text is not None:
            return await self._from_cursor(Cursor.parse(text, "resume.cursor"), standing)
        if standing is not None:
            return await self._from_cursor(Cursor(standing.epoch, standing.acked), standing)
        return await self._first_time()

    async def _from_cursor(self, cursor: Cursor, standing: Standing | None) -> Course:
        if cursor.sequence > self.feed.extent.last:
            await self.feed.survey()  # another bridge may have seen more
        match place(cursor, self.feed.extent):
            case Gap(reason):
                now = self.feed.position
                kept = Standing(self.feed.epoch, now, now)
                return Course(Plan(now), "gap", kept, reason)
            case Continue(after):
                return self._continue(after, standing)

    def _continue(self, after: int, standing: Standing | None) -> Course:
        if standing is None or standing.epoch != self.feed.epoch:
            return Course(Plan(after), "resumed", Standing(self.feed.epoch, after, after))
        # Until what waited for its first connection is acknowledged, what everyone heard before is not its.
        since = standing.since if standing.acked < standing.since else 0
        return Course(
            Plan(after, since if after < since else 0),
            "resumed",
            replace(standing, acked=max(standing.acked, after)),
        )

    async def _first_time(self) -> Course:
        """What was for it before it ever came waits for it; what everyone hears begins now."""
        self.feed.flush()
        now, start = self.feed.position, max(self.feed.first - 1, 0)
        plan = Plan(start, since=now)
        waiting = await self._replay(plan).measure()
        if not waiting:
            plan, start = Plan(now), now
        return Course(plan, "live_only", Standing(self.feed.epoch, start, now))

    # ---- welcome

    def _replay(self, plan: Plan) -> Replay:
        return Replay(self.feed, self.peer.listen(self.feed, self.bounds), plan, self.house.readers)

    async def _welcome(self, holding: Holding, course: Course) -> Replay:
        replay = self._replay(course.plan)
        replaying = await self._patiently(replay.measure)
        self._require_here()
        self.peer.stand_at(holding)
        ear = self.peer.listen(self.feed, self.bounds)
        self.feed.returning[ear] = ear
        self.peer.say(self._words(holding, course, replaying))
        self.peer.session.arrived()
        self.peer.wire.ping()  # its answer shows that the new session token has arrived
        self.house.metrics.resumes.labels(course.outcome).inc()
        return replay

    @property
    def bounds(self) -> Bounds:
        human = self.claims.entity_type == "human"
        return Bounds(events=HUMAN_QUEUE if human else self.house.config.queue)

    def _words(self, holding: Holding, course: Course, replaying: int) -> dict[str, Any]:
        config = self.house.config
        return Welcome(
            connection_id=self.peer.wire.connection_id,
            agent_id=self.claims.sub,
            group=self.feed.group,
            permission=self.peer.session.permission,
            session=holding.session,
            cursor=self.feed.cursor_at(course.plan.after),
            resumed=course.outcome == "resumed",
            outcome=course.outcome,
            resume_failure=course.failure,
            replaying=replaying,
            limits=SaidLimits(
                max_message_bytes=config.max_message_bytes,
                messages_per_second=config.messages_per_second,
                queue=self.bounds.events,
            ),
            heartbeat_seconds=config.heartbeat_seconds,
            server_time=rfc3339(datetime.now(UTC)),
        ).model_dump()

    def _require_here(self) -> None:
        """Raises ConnectionError if the client went in the meantime."""
        if self.peer.gone or self.peer.session.state is State.GONE:
            raise ConnectionError("The connection has gone.")

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it; while the log cannot be reached, try again for a while."""
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while True:
            try:
                found = await work()
            except Unavailable:
                if loop.time() >= end:
                    raise
                await asyncio.sleep(0.2)
                self._require_here()
                continue
            self._require_here()
            return found
