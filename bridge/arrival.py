"""Arrival: from a client's hello to its first live event."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from backchannel.delivery.cursor import Cursor
from backchannel.delivery.doors import At, Check, Door, composed
from backchannel.delivery.outbox import Bounds
from backchannel.delivery.resume import Course, Standing, course, farthest, nothing_waits
from backchannel.delivery.seats import PURPOSES, Seat, free_purpose, rivals
from backchannel.delivery.session import State
from backchannel.delivery.warmup import USUAL
from backchannel.errors import BackchannelError, BadMessage, Conflict, Forbidden, Unavailable
from backchannel.protocol.claims import Claims
from backchannel.protocol.frame import CloseCode, Hello, Resume, Welcome
from backchannel.protocol.frame import Limits as SaidLimits
from backchannel.protocol.message import rfc3339
from bridge.feed import Feed
from bridge.peer import Peer
from bridge.positions import Holding, Place, SessionReused
from bridge.presence import lease
from bridge.replay import Replay
from bridge.seats import Taken

if TYPE_CHECKING:
    from bridge.house import House

HUMAN_QUEUE = 50
PATIENCE = 8.0
"""How long a client waits at the door while the log cannot be reached; a restart takes less."""

TRIES = 10
T = TypeVar("T")


class TurnedAway(Exception):
    """The client may not come in; it is told `error`, and why it is closed."""

    def __init__(self, error: BackchannelError, code: int, reason: str) -> None:
        super().__init__(reason)
        self.error, self.code, self.reason = error, code, reason


class Resumed(NamedTuple):
    """A session token that counts, the place it is good for, and whether it is the current one there."""

    session: str
    place: Place
    current: bool


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
        resume = self.hello.resume or Resume()
        cursor = Cursor.parse(resume.cursor, "resume.cursor").safe if resume.cursor is not None else None
        self._require_closed_circuit()
        shown = await self._make_room(resume.session, cursor)
        await self._patiently(self._register)
        await self._patiently(self._show)
        holding, found = await self._patiently(lambda: self._take_place(cursor, shown))
        return await self._welcome(holding, found)

    async def _register(self) -> None:
        """What it says of itself is for the directory, and what is new in that for the trail."""
        hello = self.hello
        quality = hello.quality if "quality" in hello.model_fields_set else None
        entry = await self.house.directory.register(self.claims, hello.intake, quality)
        if entry is not None:
            self.house.chronicle.introduced(self.claims, entry)

    def _require_closed_circuit(self) -> None:
        wait = self.house.breakers.wait(self.peer.owner, self.house.clock())
        if wait:
            problem = f"The last connections of {self.claims.sub} failed; come back in {wait:.0f} s."
            error = Unavailable(problem, retry_after=round(wait, 1))
            raise TurnedAway(error, CloseCode.OVERLOADED, "too many connections in a row failed")

    # ---- room

    async def _make_room(self, session: str | None, cursor: Cursor | None) -> str | None:
        """Let the connection in beside the others of its agent, or in the place of one.

        Returns the session token, if it came in by that.
        """
        peer, house = self.peer, self.house
        mine, taken = await self._patiently(lambda: self._take_seat(session, cursor))
        peer.seats, peer.purpose = taken, mine.purpose
        kept = {seat.connection for seat in taken.seats}
        for present in house.roster.of(*peer.owner):
            if present.wire.connection_id not in kept:
                house.replace(present, "a newer connection took its place")
        house.enter(peer)
        return session if mine.shown else None

    async def _take_seat(self, session: str | None, cursor: Cursor | None) -> tuple[Seat, Taken]:
        """Decide, with all bridges, who is connected from now on. Raises TurnedAway, Unavailable.

        The session token is looked at between reading the seats and taking one: that it counts is still
        true when the seat is taken, or the seats have changed and it is looked at again.
        """
        house, connection_id = self.house, self.peer.wire.connection_id
        for _ in range(TRIES):
            before = await house.company.seats.look(*self.peer.owner)
            resumed = await self._resumed(session, cursor)
            for check in LET_IN:
                await check(self, resumed)
            taken = [seat for seat in before.without(connection_id) if not house.company.is_ghost(seat)]
            if resumed is not None:
                await self._succeed(resumed, taken)
            while found := rivals(taken, active=self.peer.active):
                taken.remove(await self._one_to_go(found))
            if resumed is not None:
                purpose, shown = resumed.place.purpose, house.positions.digest(resumed.place, resumed.session)
            else:
                purpose, shown = free_purpose(taken, self._wanted_purpose()), ""
            mine = Seat(connection_id, house.company.name, self.peer.active, purpose, shown)
            try:
                return mine, await house.company.seats.take(*self.peer.owner, [*taken, mine], before)
            except Conflict:
                continue
        raise self._too_many_at_once()

    async def _succeed(self, resumed: Resumed, taken: list[Seat]) -> None:
        """Whoever has the place gives way to the current session token at once.

        Whoever came by the same token gives way only if it no longer answers: then this is the same client,
        whose connection broke before it got the next one. One that answers is there, and has been first.
        """
        session, place, current = resumed
        for holder in [seat for seat in taken if seat.purpose == place.purpose]:
            if not current or self.house.positions.bears(place, holder.shown, session):
                there = await self.house.company.there(place.group, holder)
                self._require_here()
                if there:
                    raise self._reused(session)
            taken.remove(holder)

    async def _require_belief(self, resumed: Resumed | None) -> None:
        """The token is believed still: it may have come a while before the hello."""
        why = self.house.keyring.why_not_any_more(self.claims)
        if why is not None:
            error = Forbidden("This token is not accepted any more; connect with a fresh one.")
            raise TurnedAway(error, CloseCode.FORBIDDEN, "this token is not accepted any more")

    async def _spend_nonce(self, resumed: Resumed | None) -> None:
        """A token with a nonce opens one connection; whoever goes on with a session opens none."""
        if self.claims.nonce is None or resumed is not None:
            return
        if not await self.house.nonces.spend(self.claims, self.peer.wire.connection_id, self.house.clock()):
            self._suspect("nonce_used_again")
            error = Forbidden("This token has opened its one connection; connect with a fresh one.")
            raise TurnedAway(error, CloseCode.FORBIDDEN, "token used again")

    async def _resumed(self, session: str | None, cursor: Cursor | None) -> Resumed | None:
        """The place whose session token it shows; None if it shows none of this platform's.

        An old or foreign token is a suspected hijack, also where the agent never had a session. Only whoever
        comes from another log with a cursor of it, as after the loss of all data, has a token that nobody
        can know, and is told of the gap.
        """
        if session is None:
            return None
        positions = self.house.positions
        known = cursor is None or cursor.epoch == self.feed.extent.epoch
        for purpose in dict.fromkeys((self._wanted_purpose(), *PURPOSES)):
            place = self._place(purpose)
            kept = await positions.look(place)
            if positions.recognises(place, kept, session):
                return Resumed(session, place, positions.is_current(place, kept, session))
            known = known or kept.record is not None or kept.tampered
        if known:
            raise self._reused(session)
        return None

    def _wanted_purpose(self) -> str:
        """An observer that calls itself primary must not take the place of the active connection."""
        wanted = self.hello.purpose
        return "observer" if wanted == "primary" and not self.peer.active else wanted

    async def _one_to_go(self, found: Sequence[Seat]) -> Seat:
        """The first of them that does not answer; if all do, the newcomer is one too many."""
        group, _ = self.peer.owner
        answers = await asyncio.gather(*(self.house.company.there(group, seat) for seat in found))
        self._require_here()
        silent = next((seat for seat, there in zip(found, answers, strict=True) if not there), None)
        if silent is None:
            raise self._one_too_many()
        return silent

    def _too_many_at_once(self) -> Unavailable:
        return Unavailable("Too many connections of this agent come and go; try again.", retry_after=1.0)

    def _one_too_many(self) -> TurnedAway:
        self._suspect("one_connection_too_many")
        error = Forbidden(
            f"{self.claims.sub} is connected already and answers; resume its session, or close it first."
        )
        return TurnedAway(error, CloseCode.REPLACED, "one connection too many")

    def _reused(self, session: str) -> TurnedAway:
        self._suspect("session_token_reused")
        self.house.company.tell_of_reuse(self.peer, self.claims, session)
        error = SessionReused("This session token is not the current one; connect without it.")
        return TurnedAway(error, CloseCode.SESSION_REUSED, "session token reused")

    def _suspect(self, what: str) -> None:
        self.house.blotter.suspect(what, self.claims, self.peer.wire.remote)

    # ---- place

    def _place(self, purpose: str) -> Place:
        return Place(self.feed.group, self.claims.sub, purpose)

    async def _show(self) -> None:
        said = {
            "permission": self.hello.permission,
            "purpose": self.peer.purpose,
            "since": rfc3339(datetime.now(UTC)),
        }
        held = lease(self.feed.group, self.claims.sub, self.peer.wire.connection_id, said, self.peer.health)
        self.peer.lease = held.key
        await self.house.presence.add(held)

    async def _take_place(self, cursor: Cursor | None, shown: str | None) -> tuple[Holding, Course]:
        """Decide where to go on, and take the position with a new session token.

        The seat is looked at between reading the position and taking it: whoever took the seat last takes
        the position last.
        """
        where = self._place(self.peer.purpose)
        for _ in range(TRIES):
            kept = await self.house.positions.look(where)
            await self._require_seat()
            found = await self._course(cursor, kept.standing or await self._standing_elsewhere())
            try:
                holding = await self.house.positions.claim(where, kept, found.standing, shown)
            except Conflict:
                continue
            self.peer.stand_at(holding)
            if shown is not None:
                await self.house.successors.announce(holding)
            return holding, found
        raise self._too_many_at_once()

    async def _require_seat(self) -> None:
        """Raises TurnedAway if somebody took it."""
        seats = await self.house.company.seats.look(*self.peer.owner)
        if all(seat.connection != self.peer.wire.connection_id for seat in seats.seats):
            error = Forbidden(f"A newer connection of {self.claims.sub} took the place of this one.")
            raise TurnedAway(error, CloseCode.REPLACED, "a newer connection took its place")

    async def _standing_elsewhere(self) -> Standing | None:
        """Whoever comes for another purpose than before goes on from what its agent acknowledged itself."""
        others = [one for one in PURPOSES if one not in (self.peer.purpose, "observer")]
        kept = [await self.house.positions.look(self._place(purpose)) for purpose in others]
        return farthest([one.standing for one in kept if one.standing is not None], self.feed.extent)

    async def _course(self, cursor: Cursor | None, standing: Standing | None) -> Course:
        wanted = cursor.sequence if cursor else standing.acked if standing else 0
        if wanted > self.feed.extent.last:
            await self.feed.survey()  # another bridge may have seen more
        self.feed.fanout.flush()
        found = course(cursor, standing, self.feed.extent, self.feed.position)
        if found.outcome == "live_only" and not await self._replay(found).measure():
            return nothing_waits(found)
        return found

    # ---- welcome

    def _replay(self, found: Course) -> Replay:
        reading = self.house.reads.of(self.peer.owner)
        ear = self.peer.listen(self.feed, self.bounds)
        return Replay(self.feed, ear, found, reading, turn=reading.turn)

    async def _welcome(self, holding: Holding, found: Course) -> Replay:
        replay = self._replay(found)
        replaying = await self._patiently(replay.measure)
        ear = self.peer.listen(self.feed, self.bounds)
        if found.outcome == "live_only" and (stages := self._stages()):
            ear.warm_up(stages)
        self.peer.say(self._words(holding, found, replaying))
        self.peer.session.arrived()
        if self.peer.alarmed:
            self.house.company.warn(self.peer)
        self.peer.wire.ping()  # its answer shows that the new session token has arrived
        self.house.metrics.resumes.labels(found.outcome).inc()
        self.house.chronicle.connected(self.peer, self.hello, found.outcome)
        return replay

    def _stages(self) -> Sequence[float]:
        """How slowly a newcomer begins: as the platform says, or in the usual way if it asks for that."""
        asked = self.hello.intake is not None and self.hello.intake.warmup
        return self.house.settings().warmup.stages or (USUAL if asked else ())

    @property
    def bounds(self) -> Bounds:
        human = self.claims.entity_type == "human"
        return Bounds(events=HUMAN_QUEUE if human else self.house.config.queue)

    def _words(self, holding: Holding, found: Course, replaying: int) -> dict[str, Any]:
        config = self.house.config
        return Welcome(
            connection_id=self.peer.wire.connection_id,
            agent_id=self.claims.sub,
            group=self.feed.group,
            permission=self.peer.session.permission,
            session=holding.session,
            cursor=self.feed.cursor_at(found.after),
            resumed=found.outcome == "resumed",
            outcome=found.outcome,
            resume_failure=found.failure,
            replaying=replaying,
            limits=SaidLimits(
                max_message_bytes=config.max_message_bytes,
                messages_per_second=round(self.peer.session.limits.messages_per_second),
                queue=self.bounds.events,
            ),
            heartbeat_seconds=self.house.heartbeat_seconds,
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


LET_IN = composed(
    Door.WEBSOCKET,
    At.HELLO,
    {
        Check.KEY: Arrival._require_belief,
        Check.REVOCATION: Arrival._require_belief,
        Check.NONCE: Arrival._spend_nonce,
    },
)
"""What is checked of whoever has said hello, before it gets a seat."""
