"""The peer: what one connection says and hears, between its session, the door and the feed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pydantic_core
import structlog

from backchannel.delivery.acknowledgement import Acknowledgement
from backchannel.delivery.cursor import Cursor
from backchannel.delivery.effect import (
    Acknowledge,
    Ask,
    Authenticate,
    Begin,
    Dump,
    Effect,
    Keep,
    Part,
    Renewal,
    Say,
    Tune,
)
from backchannel.delivery.infodump import Wanted
from backchannel.delivery.outbox import Bounds
from backchannel.delivery.pulse import Pulse, condition, readiness
from backchannel.delivery.session import Session, State
from backchannel.delivery.work import cost_of
from backchannel.errors import BackchannelError, Expired, Forbidden, QueueFull
from backchannel.protocol.claims import Claims
from backchannel.protocol.frame import CloseCode
from bridge.ear import Ear
from bridge.feed import Feed
from bridge.infodump import Infodump
from bridge.positions import Holding
from bridge.seats import Taken
from bridge.voice import Voice
from bridge.wire import Wire

if TYPE_CHECKING:
    from bridge.house import House

log = structlog.get_logger("bridge.peer")
FAULT = 1011


class Peer:
    """One connection. Whatever goes wrong in here ends this connection and no other."""

    def __init__(self, wire: Wire, house: House, session: Session) -> None:
        self.wire = wire
        self.house = house
        self.session = session
        self.gone = False
        self.came: float | None = None
        self.alarmed = False
        self.ended = (0, "")
        self.purpose = "primary"
        self.feed: Feed | None = None
        self.ear: Ear | None = None
        self.holding: Holding | None = None
        self.lease: str | None = None
        self.seats: Taken | None = None
        self.voice = Voice(wire, house, self)
        self._acknowledged = Acknowledgement()
        self._dumping = False
        self._pulse = Pulse()
        self._pongs: list[asyncio.Future[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    # ---- who it is

    @property
    def owner(self) -> tuple[str, str]:
        claims = self.session.claims
        assert claims is not None
        return claims.collaboration_group, claims.sub

    @property
    def active(self) -> bool:
        return self.session.permission == "active"

    def health(self) -> dict[str, Any]:
        """How this connection is, as others may know it."""
        ear, pulse = self.ear, self._pulse
        score = pulse.score(congested=self.wire.paused)
        live = ear is not None and self.feed is not None and ear in self.feed.fanout.listeners
        return {
            "health": score,
            "condition": condition(score),
            "readiness": readiness(score, speaks=self.active, live=live),
            "round_trip": pulse.round_trip if pulse.round_trip is None else round(pulse.round_trip, 4),
            "delivered": ear.delivered if ear is not None else 0,
            "dropped": dict(ear.dropped) if ear is not None else {},
        }

    # ---- what the wire tells

    def received(self, body: bytes) -> None:
        if self.house.freshness.stale:
            self.voice.alone(self._received_late(body))
        elif not self.gone:
            effects = self.session.received(body, self.house.clock())
            self.wire.charge(cost_of(effects))
            self.perform(effects)

    async def _received_late(self, body: bytes) -> None:
        """The bridge was stopped for a while: what it knew of rights and members may be true no more."""
        await self.house.freshness.wait()
        self.received(body)

    def received_binary(self) -> None:
        if not self.gone:
            self.perform(self.session.received_binary(self.house.clock()))

    def writable(self) -> None:
        if self.ear is not None:
            self.ear.writable()
        self.voice.read_on()

    def beat(self, missed: int) -> None:
        dropped = sum(self.ear.dropped.values()) if self.ear is not None else 0
        self._pulse.beat(missed, dropped)
        if self.session.state is State.HERE and self.ear is not None:
            self.ear.position()

    def ponged(self, seconds: float) -> None:
        self._pulse.answered(seconds)
        waiting, self._pongs = self._pongs, []
        for one in waiting:
            if not one.done():
                one.set_result(None)
        if self.holding is not None and self.holding.confirm():
            self.house.chores.errand(
                self.house.positions.write(self.holding)
            )  # no bridge takes the old one any more

    def lost(self, code: int) -> None:
        self.gone = True
        self.ended = self.ended if self.ended[0] else (code, "the client left")
        self.session.state = State.GONE
        for task in tuple(self._tasks):
            task.cancel()
        for waiting in self._pongs:
            waiting.cancel()
        if self.ear is not None:
            self.ear.close()
        self.house.left(self)

    # ---- what the session wants done

    def perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            self._perform(effect)
        if effects:
            self.voice.hold_back()

    def tick(self, now: float) -> None:
        """About once a second."""
        try:
            self.perform(self.session.tick(now))
            if self.ear is not None:
                self.ear.look(self._pulse.round_trip or 0.0)
            if self.voice.hopeless:
                self.send_away(CloseCode.TOO_SLOW, "too slow: answers were not read")
        except Exception:
            self._give_up()

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Say(frame):
                self.say(frame)
            case Part(code, reason):
                self.ended = (code, reason)
                self.house.leave(
                    self
                )  # at once: the client may be at the door again before the socket is gone
                self.wire.close(code, reason)
            case Begin(hello):
                self.voice.alone(self.house.arrive(self, hello))
            case Keep():
                self.voice.keep(effect)
            case Acknowledge(cursor, message_ids):
                if message_ids and self.holding is not None:
                    self.holding.has(message_ids)
                if cursor is not None:
                    self._acknowledge(cursor)
            case Ask():
                self.voice.ask(effect)
            case Authenticate():
                self._authenticate(effect)
            case Renewal():
                self._renew(effect)
            case Dump(wanted, in_reply_to):
                self.dump(wanted, in_reply_to)
            case Tune(subscription, preference):
                if self.ear is not None:
                    self.ear.tune(subscription, preference)

    def say(self, frame: Mapping[str, Any]) -> None:
        """Send a frame of the connection itself."""
        if frame["type"] == "error":
            self.house.metrics.refused.labels(frame["code"]).inc()
            if self.session.claims is not None:
                self.house.chronicle.refused(self.session.claims, frame)
        self.wire.send(pydantic_core.to_json(frame))

    def _authenticate(self, wanted: Authenticate) -> None:
        try:
            claims = self.house.verify(wanted.token)
        except BackchannelError as error:
            code = CloseCode.TOKEN_EXPIRED if isinstance(error, Expired) else CloseCode.FORBIDDEN
            self.perform(self.session.turned_away(error, code, "bad token"))
            return
        self.wire.claims = claims
        self.perform(self.session.authenticated(claims, wanted.hello))

    def _renew(self, wanted: Renewal) -> None:
        now = self.house.clock()
        try:
            claims = self.house.verify(wanted.token)
        except BackchannelError as error:
            self.perform(self.session.refused(error, wanted.in_reply_to, now))
            return
        if claims.nonce is None:
            self._renewed(claims, wanted.in_reply_to)
        else:
            self.run(self._renew_once(claims, wanted.in_reply_to))

    async def _renew_once(self, claims: Claims, in_reply_to: str) -> None:
        """With a token that is good for one use, here or anywhere."""
        user = f"{self.wire.connection_id}:{in_reply_to}"
        try:
            if not await self.house.nonces.spend(claims, user, self.house.clock()):
                self.house.blotter.suspect("nonce_used_again", claims, self.wire.remote)
                raise Forbidden("This token has been used; renew with a fresh one.", field="token")
            if self.house.keyring.why_not_any_more(claims) is not None:  # revoked while that was written
                raise Forbidden("This token is not accepted any more.", field="token")
        except BackchannelError as error:
            self.refuse(error, in_reply_to)
            return
        self._renewed(claims, in_reply_to)

    def _renewed(self, claims: Claims, in_reply_to: str) -> None:
        self.perform(self.session.renewed(claims, in_reply_to, self.house.clock()))
        if self.session.token is not claims:
            return
        self.house.chronicle.renewed(claims)
        if self.ear is not None:
            self.ear.grant(claims.sidebar_access)

    def dump(self, wanted: Wanted, in_reply_to: str) -> None:
        """Give a page of the history; one at a time."""
        if self.feed is None or self.ear is None:
            return
        if self._dumping:
            error = QueueFull("One infodump at a time; wait for its last page.", retry_after=1.0)
            self.refuse(error, in_reply_to)
            return
        self._dumping = True
        reading = self.house.reads.of(self.owner)
        self.run(self._dump(Infodump(self.feed, self.ear, wanted, in_reply_to, reading)))

    async def _dump(self, infodump: Infodump) -> None:
        try:
            await infodump.run(self.say)
        except BackchannelError as error:
            self.refuse(error, infodump.in_reply_to)
        finally:
            self._dumping = False

    def narrow(self, group: str, entity: str) -> None:
        """The rights of an entity, or with "" single tokens of the group, were changed."""
        token = self.session.token
        if token is None or token.collaboration_group != group or entity not in ("", token.sub):
            return
        self.session.rights_changed()
        self.check_token()

    def check_token(self) -> None:
        """Send the connection away if its token is not believed any more."""
        token = self.session.token
        why = self.house.keyring.why_not_any_more(token) if token is not None else None
        if token is None or why is None:
            return
        self.house.blotter.warn("sent_away", agent=token.sub, remote=self.wire.remote, why=why)
        self.send_away(CloseCode.FORBIDDEN, "this token is not accepted any more")

    def refuse(self, error: BackchannelError, in_reply_to: str | None) -> None:
        if not self.gone:
            self.perform(self.session.refused(error, in_reply_to, self.house.clock()))

    # ---- acknowledging

    def _acknowledge(self, text: str) -> None:
        try:
            cursor = Cursor.parse(text).safe
        except BackchannelError as error:
            self.refuse(error, None)
            return
        if self.holding is None or self.ear is None or cursor.epoch != self.holding.record.standing.epoch:
            return
        if self._acknowledged.acknowledge(cursor.sequence, self.ear.received(cursor.sequence)):
            self.ear.acknowledged(self._acknowledged.position)
            self.holding.acknowledge(self._acknowledged.position)

    def stand_at(self, holding: Holding) -> None:
        """From where acknowledgements count."""
        self.holding = holding
        self._acknowledged = Acknowledgement(holding.record.standing.acked)

    async def change_session(self) -> None:
        """Somebody else has shown the session token of this connection: it gets another one."""
        if self.holding is not None and not self.gone:
            await self.house.positions.withdraw(self.holding)
            if not self.gone:
                self.say({"type": "session", "session": self.holding.session})

    # ---- is it there, and how it ends

    async def answers(self, seconds: float) -> bool:
        """Whether the client is still there: it answers a ping within so many seconds."""
        if self.wire.closing:
            return False
        answered: asyncio.Future[None] = self.house.loop.create_future()
        self._pongs.append(answered)
        self.wire.ping()
        done, _ = await asyncio.wait([answered], timeout=seconds)
        return bool(done) and not answered.cancelled()

    def send_away(self, code: int, reason: str) -> None:
        self.perform(self.session.part(code, reason))

    def turn_away(self, error: BackchannelError, code: int, reason: str) -> None:
        self.perform(self.session.turned_away(error, code, reason))

    def listen(self, feed: Feed, bounds: Bounds) -> Ear:
        """What this connection hears with, made when it is first needed."""
        if self.ear is None:
            assert self.session.claims is not None
            self.ear = Ear(
                self.wire,
                feed,
                self.house.metrics,
                bounds,
                self.send_away,
                agent=self.session.claims.sub,
                access=self.session.claims.sidebar_access,
            )
            self.ear.tune(self.session.subscription, self.session.preference)
        return self.ear

    # ---- waiting for something

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that takes a while; it ends with the connection."""
        task = self.house.loop.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except ConnectionError:
            log.debug("a connection went before it was served", connection_id=self.wire.connection_id)
        except Exception:
            self._give_up()

    def _give_up(self) -> None:
        """A mistake of ours; called where it was caught."""
        log.exception("a connection was given up", connection_id=self.wire.connection_id)
        self.wire.close(FAULT, "The bridge made a mistake.")
