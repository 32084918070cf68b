"""The house: everything one bridge process knows and keeps going, behind its port."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import Any

import structlog

from backchannel.delivery.session import Limits, Session
from backchannel.domain.settings import Settings
from backchannel.domain.supervision.callback import Leave
from backchannel.errors import BackchannelError, Expired, Forbidden, NotFound, Unavailable
from backchannel.jetstream.address import Address
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.publish import Publisher
from backchannel.protocol.catalog import read_message
from backchannel.protocol.claims import Claims
from backchannel.protocol.frame import CloseCode, Hello
from backchannel.service.audit.standing import ask, faults_of
from backchannel.service.freshness import BEAT, Freshness
from backchannel.service.nonces import Nonces
from backchannel.service.parking import Quarantine
from backchannel.service.settings import LiveSettings
from backchannel.service.trail import Trail
from backchannel.service.waits import BUCKET as WAITS
from backchannel.service.waits import WaitGraph
from bridge.arrival import Arrival
from bridge.breakers import Breakers
from bridge.chores import Chores, until_done
from bridge.chronicle import WINDOW, Chronicle
from bridge.company import Company
from bridge.config import Config
from bridge.directory import Directory
from bridge.door import Caller, Door
from bridge.feed import Feed
from bridge.feeds import Feeds
from bridge.gauge import Gauge
from bridge.host import StoredAt
from bridge.leave import Leaves, Shown
from bridge.metrics import Metrics
from bridge.paces import Pacing
from bridge.peer import Peer
from bridge.positions import Place, Positions
from bridge.presence import Presence
from bridge.question import Question
from bridge.reads import Reads
from bridge.replay import READERS
from bridge.roster import Roster
from bridge.seals import Seals
from bridge.slots import Slots
from bridge.successor import Successors
from bridge.turns import Turns
from bridge.under_way import UnderWay
from bridge.upgrade import EXPIRED, Gate, TurnedAway
from bridge.waiting import Waiting
from bridge.wire import Wire

log = structlog.get_logger("bridge.house")
ON_THEIR_WAY = 1_000
"""Messages that may be on their way to the log at a time."""

SURVEYED_EACH = 5.0
SWEPT_EACH = 1.0
MEASURED_EACH = 5.0
LAST_WORDS = 2.0
"""Seconds in which a closing house writes down what it must."""


class House:
    """Two connections to NATS (one stores, one reads), a feed for each group, and everybody who is here."""

    def __init__(
        self,
        storing: Connection,
        reading: Connection,
        config: Config,
        metrics: Metrics,
        gate: Gate,
        pepper: bytes = b"",
        seals: Sequence[bytes] = (b"",),
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock = time.time
        self.config = config
        self.metrics = metrics
        self.storing = storing
        self.reading = reading
        self.publisher = Publisher(storing, in_flight=ON_THEIR_WAY)
        self.trail = Trail(storing, source="bridge", pepper=pepper)
        self.chronicle = Chronicle(self.trail, config.groups[0])
        self.slots = Slots(self.publisher)
        self.directory = Directory(Bucket(reading, "BC_agents"))
        self.positions = Positions(Bucket(storing, "BC_sessions"), Seals(seals))
        self.presence = Presence(Bucket(storing, "BC_presence"), config.lease_seconds)
        quarantine = Quarantine(self.publisher, self.directory.humans)
        self.question = Question(reading)
        self.leaves = Leaves(self.question)
        self.waiting = Waiting(WaitGraph(Bucket(storing, WAITS)))
        self.successors = Successors(reading, self._succeeded)
        self.nonces = Nonces(Bucket(storing, "BC_nonces"))
        self._settings = LiveSettings(reading)
        self.pacing = Pacing(self.settings, config.messages_per_second, config.agent_bytes_per_second)
        self.chores = Chores()
        budget, under_way = self.pacing.budget, UnderWay(self.chores.errand)
        self.door = Door(
            self.publisher, reading, self.directory, quarantine, self.settings, budget, under_way
        )
        self.breakers = Breakers(self.settings)
        self.roster: Roster[Peer] = Roster()
        self.readers = asyncio.Semaphore(READERS)
        self.reads = Reads(self.readers, Turns(self.loop))
        self.company = Company(self, storing, reading)
        self.feeds = Feeds(
            config.groups,
            reading,
            self.publisher,
            metrics,
            self.settings,
            self.chores,
            on_replaced=self._log_replaced,
        )
        self.freshness = Freshness(gate.rights.catch_up, self.feeds.catch_up)
        self._copies: dict[str, list[str]] = {}
        self.gauge = Gauge(reading, config.groups, metrics)
        self.peers: set[Peer] = set()
        self.keyring = gate.keyring
        self.rights = gate.rights
        self.blotter = gate.blotter
        self._gate = gate

    # ---- opening and closing

    @classmethod
    async def open(
        cls,
        address: Address,
        config: Config,
        metrics: Metrics,
        gate: Gate,
        pepper: bytes = b"",
        seals: Sequence[bytes] = (b"",),
    ) -> House:
        """Connect, and read what there is; however long it takes until the log can be reached.

        Raises:
            Forbidden: the NATS server refuses the login.
        """
        storing = await Connection.open(address, name="bridge-storing", wait=None)
        reading = await Connection.open(address, name="bridge-reading", wait=None)
        house = cls(storing, reading, config, metrics, gate, pepper, seals)
        await until_done("the settings", house._settings.open)
        await until_done("the rights in force", lambda: house.rights.open(reading, house._rights_changed))
        await until_done("the directory", house.directory.open)
        await house.feeds.open()
        await house.successors.open()
        await until_done("the seats", house.company.open)
        gate.blotter.chronicle = house.chronicle
        gate.public_url = lambda: house.settings().approvals.public_url
        house._keep_going()
        return house

    async def close(self) -> None:
        """Write down what must not be lost, and leave. The port closes the connections before."""
        for peer in tuple(self.peers):
            peer.send_away(CloseCode.RESTART, "the bridge restarts")
            self.left(peer)
        await self.chores.close(LAST_WORDS)
        await self.feeds.close()
        await self.directory.close()
        await self.company.close()
        await self.rights.close()
        await self._settings.close()
        await self.chronicle.sweep()
        await self.trail.close(LAST_WORDS)
        await self.storing.close()
        await self.reading.close()

    def _log_replaced(self, feed: Feed) -> None:
        """The log is another one: everybody comes back and is told so."""
        for peer in tuple(self.peers):
            if peer.feed is feed:
                peer.send_away(CloseCode.RESTART, "the log was made anew")

    # ---- what the port asks

    @property
    def ready(self) -> bool:
        return self.feeds.complete

    @property
    def heartbeat_seconds(self) -> float:
        return self.config.heartbeat_seconds or self.settings().health.check_interval

    def settings(self) -> Settings:
        """What is in force now."""
        return self._settings.current

    def facts(self) -> dict[str, Any]:
        """For `/health`: each part as it is now."""
        return {
            "nats": {"up": self.storing.up and self.reading.up},
            **self.feeds.facts(),
            "handlers": {"answering": self.question.answering},
            "audit": {
                **self.trail.facts(),
                "copies": [fault for faults in self._copies.values() for fault in faults],
            },
            "streams": {"warnings": self.gauge.warnings},
            "breakers": {"open": self.breakers.open},
        }

    def admit(self, wire: Wire) -> Peer:
        config = self.config
        limits = Limits(
            max_message_bytes=config.max_message_bytes,
            messages_per_second=self.pacing.rate,
            hello_seconds=config.hello_seconds,
            hello_token_seconds=config.hello_token_seconds,
        )
        peer = Peer(wire, self, Session(wire.claims, self.clock(), limits, self.rights.effective))
        self.peers.add(peer)
        self.company.here[wire.connection_id] = peer
        return peer

    def charge(self, owner: tuple[str, str], size: int) -> None:
        """Raises RateLimited."""
        self.pacing.require(owner, self.clock(), size=size)

    async def fresh(self) -> None:
        """Raises Unavailable."""
        await self.freshness.require()

    async def spend(self, claims: Claims) -> bool:
        """Raises Unavailable."""
        return await self.nonces.spend(claims, secrets.token_hex(8), self.clock())

    async def verified(self, shown: Shown) -> Leave:
        """Raises NotFound for the group, Expired, Forbidden, or Unavailable while nobody knows the key."""
        if shown.group not in self.config.groups:
            raise NotFound(f"There is no group {shown.group[:64]!r} here.")
        return await self.leaves.verified(shown, self.clock())

    async def store(self, claims: Claims, content: dict[str, Any], paid: int) -> StoredAt:
        """Store a memory update for somebody without a connection; that it may was checked.

        Args:
            paid: bytes of it that its sender was charged with already.

        Raises:
            Refused: it may not be stored.
            Unavailable: it was not stored.
        """
        feed = self.feeds.of(claims)
        caller = Caller(self.rights.effective(claims), feed, paid)
        stored = await self.door.store(caller, content, read_message(content))
        live = feed.live
        cursor = feed.cursor_at(stored.sequence)
        return StoredAt(
            "full" if live else "degraded", cursor, "active" if live else "offline", stored.duplicate
        )

    async def decide(self, claims: Claims | None, group: str, content: dict[str, Any]) -> dict[str, Any]:
        """Have an answer to a request for approval decided. Raises Unavailable."""
        return await self.question.answer_for(claims, group, content)

    def verify(self, token: str) -> Claims:
        """What a token says that came in a frame.

        Raises:
            Expired: it is one of ours, and was good once.
            Forbidden: it is not believed, without a reason for strangers.
        """
        try:
            return self._gate.believe(token)
        except TurnedAway as refusal:
            if refusal.reason == EXPIRED:
                raise Expired("The token has expired; come with a fresh one.", field="token") from None
            raise Forbidden(refusal.message, field="token") from None

    # ---- who is here

    async def arrive(self, peer: Peer, hello: Hello) -> None:
        claims = peer.session.claims
        assert claims is not None
        try:
            peer.feed = self.feeds.of(claims)
        except Unavailable as error:
            peer.turn_away(error, CloseCode.OVERLOADED, "starting")
            return
        await Arrival(self, peer, hello, claims, peer.feed).run()

    def enter(self, peer: Peer) -> None:
        self.roster.enter(peer)
        peer.session.shared = self.pacing.of(peer.owner)
        peer.wire.allow(self.pacing.together)
        self.metrics.connections.labels(peer.session.permission).inc()

    def replace(self, peer: Peer, reason: str) -> None:
        """End a connection in favour of a newer one."""
        peer.send_away(CloseCode.REPLACED, reason)

    def left(self, peer: Peer) -> None:
        """A connection is gone: forget it at once, and write down what it leaves behind."""
        if peer not in self.peers:
            return
        self.peers.discard(peer)
        self.company.here.pop(peer.wire.connection_id, None)
        self.slots.forget(peer.voice)
        self.chronicle.parted(peer)
        if peer.session.claims is not None:
            now = self.clock()
            self.breakers.ended(peer.owner, peer.ended[0], now - peer.session.opened, now)
        self.leave(peer)
        self.chores.errand(self._write_down(peer))

    def leave(self, peer: Peer) -> None:
        """It hears nothing any more, and its place may be taken at once."""
        if peer.session.claims is not None and self.roster.leave(peer):
            self.metrics.connections.labels(peer.session.permission).dec()
        if peer.feed is not None and peer.ear is not None:
            peer.feed.fanout.part(peer.ear)

    async def _write_down(self, peer: Peer) -> None:
        if peer.seats is not None:
            await self.company.seats.leave(*peer.owner, peer.wire.connection_id, peer.seats)
        if peer.holding is not None:
            await self.positions.release(peer.holding)
        if peer.lease is not None:
            await self.presence.remove(peer.lease)

    def _rights_changed(self, group: str, entity: str) -> None:
        """Whoever is here goes on with the rights there are now, or goes."""
        for peer in tuple(self.peers):
            peer.narrow(group, entity)

    def _succeeded(self, place: Place, revision: int) -> None:
        """Another bridge has somebody in this place now."""
        for peer in self.roster.of(place.group, place.agent):
            held = peer.holding
            if held is not None and held.place == place and held.revision < revision:
                self.replace(peer, "a newer connection resumed this session")

    # ---- what goes on by itself

    def _keep_going(self) -> None:
        for seconds, work in (
            (BEAT, self.freshness.beat),
            (SWEPT_EACH, self._tick),
            (SWEPT_EACH, self._write_positions),
            (self.config.lease_seconds / 3, self.presence.sweep),
            (SURVEYED_EACH, self.feeds.survey),
            (SURVEYED_EACH, self._check_handlers),
            (SURVEYED_EACH, self._check_trail),
            (MEASURED_EACH, self.gauge.measure),
            (WINDOW, self.chronicle.sweep),
        ):
            self.chores.every(seconds, work)

    async def _tick(self) -> None:
        now = self.clock()
        keys_changed, pace_changed = self.keyring.changed(), self.pacing.changed()
        self.metrics.in_flight.set(ON_THEIR_WAY - self.publisher.free)
        self.feeds.measure()
        for peer in tuple(self.peers):
            if keys_changed:
                peer.check_token()
            if pace_changed:
                peer.session.tune(self.pacing.rate)
                peer.wire.allow(self.pacing.together)
            peer.tick(now)

    async def _write_positions(self) -> None:
        lost = await self.positions.sweep()
        for peer in tuple(self.peers):
            if peer.holding in lost:
                self.replace(peer, "a newer connection took this place")

    async def _check_trail(self) -> None:
        """How the copies of the audit trail are; nothing is known while nobody keeps any."""
        for group in self.config.groups:
            try:
                told = await ask(self.reading, group)
            except BackchannelError:
                self._copies.pop(group, None)
            else:
                self._copies[group] = faults_of(told)

    async def _check_handlers(self) -> None:
        await self.question.check(self.config.groups)
        if self.question.answering:
            await self.leaves.learn(self.config.groups, self.clock())
