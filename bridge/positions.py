"""Positions: how far each agent has acknowledged, and the session it may resume. Kept in BC_sessions."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import pydantic_core
import structlog

from backchannel.delivery.acknowledgement import named
from backchannel.delivery.resume import Standing
from backchannel.errors import BackchannelError, Conflict, Forbidden
from backchannel.jetstream.bucket import Bucket

log = structlog.get_logger("bridge.positions")
TRIES = 5
AT_ONCE = 64
"""Writes under way at a time."""


class SessionReused(Forbidden):
    """The session token is old or somebody else's: perhaps stolen."""


class Place(NamedTuple):
    """Whose position: one agent's, for one purpose."""

    group: str
    agent: str
    purpose: str

    def __str__(self) -> str:
        return ".".join(self)


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of a place: how far it is, and the digests of its session tokens.

    `named` are single messages that were acknowledged beside that. `session` is the current one; `previous`
    the one before, which still counts until the client has shown that it got the new one.
    """

    standing: Standing
    session: str
    previous: str | None = None
    named: tuple[str, ...] = ()

    @classmethod
    def read(cls, payload: bytes) -> Record | None:
        """None if it cannot be read."""
        try:
            kept: dict[str, Any] = pydantic_core.from_json(payload)
            standing = Standing(str(kept["epoch"]), int(kept["acked"]), int(kept["since"]))
            return cls(standing, str(kept["session"]), kept.get("previous"), tuple(kept.get("named") or ()))
        except (ValueError, KeyError, TypeError):
            log.warning("a position cannot be read")
            return None

    def written(self) -> bytes:
        sessions = {"session": self.session, "previous": self.previous}
        named = {"named": self.named} if self.named else {}
        return pydantic_core.to_json(asdict(self.standing) | sessions | named)

    def recognises(self, session: str) -> bool:
        offered = digest(session)
        known = [self.session, *([self.previous] if self.previous else [])]
        return any(hmac.compare_digest(offered, one) for one in known)


def digest(session: str) -> str:
    return hashlib.sha256(session.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(slots=True, eq=False)
class Holding:
    """A place while its connection lives here. `session` is the token for the next resume.

    `released`: the connection has gone. `lost`: somebody else has taken the place.
    """

    place: Place
    record: Record
    revision: int
    session: str = field(repr=False)
    dirty: bool = False
    released: bool = False
    lost: bool = False

    def acknowledge(self, position: int) -> None:
        self._change(replace(self.record, standing=replace(self.record.standing, acked=position)))

    def has(self, message_ids: Iterable[str]) -> None:
        """The client names messages that it has."""
        known = named(self.record.named, message_ids)
        if known != self.record.named:
            self._change(replace(self.record, named=known))

    def confirm(self) -> None:
        """The client has its new session token; the one before it ends."""
        if self.record.previous is not None:
            self._change(replace(self.record, previous=None))

    def _change(self, record: Record) -> None:
        self.record = record
        self.dirty = True


class Kept(NamedTuple):
    """What the bucket says of a place, and at which revision (0: nothing)."""

    record: Record | None
    revision: int

    @property
    def standing(self) -> Standing | None:
        return self.record.standing if self.record else None


class Positions:
    """Every position held here; written about once a second, and at once when a connection ends."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._held: dict[Place, Holding] = {}
        self._writing = asyncio.Lock()

    async def look(self, place: Place) -> Kept:
        """What is kept of a place. Raises Unavailable."""
        held = self._held.get(place)
        if held is not None and held.dirty:
            await self._write(held)
        found = await self._bucket.get(str(place))
        return Kept(None, 0) if found is None else Kept(Record.read(found.payload), found.revision)

    async def claim(self, place: Place, kept: Kept, standing: Standing, presented: str | None) -> Holding:
        """Take a place with a new session token.

        Raises:
            Conflict: somebody else did since `kept` was read.
            Unavailable: it cannot be written now.
        """
        session = secrets.token_urlsafe(32)
        known = kept.record.named if kept.record is not None else ()
        taken = Record(standing, digest(session), digest(presented) if presented else None, known)
        if kept.revision:
            revision = await self._bucket.update(str(place), taken.written(), kept.revision)
        else:
            revision = await self._bucket.create(str(place), taken.written())
        holding = Holding(place, taken, revision, session)
        former = self._held.get(place)
        if former is not None:
            former.lost, former.dirty = True, False
        self._held[place] = holding
        return holding

    async def release(self, holding: Holding) -> None:
        """The connection has gone; write what it acknowledged last, now or when that is possible again."""
        holding.released = True
        if holding.dirty:
            await self._write(holding)
        self._let_go(holding)

    async def sweep(self) -> list[Holding]:
        """Write what has changed; those of which somebody else took the place."""
        async with self._writing:
            changed = [holding for holding in self._held.values() if holding.dirty]
            for start in range(0, len(changed), AT_ONCE):
                await asyncio.gather(*(self._write(one) for one in changed[start : start + AT_ONCE]))
            for holding in changed:
                self._let_go(holding)
        return [holding for holding in changed if holding.lost]

    def _let_go(self, holding: Holding) -> None:
        """Forget a place whose connection has gone and of which all is written."""
        done = holding.released and not holding.dirty
        if done and self._held.get(holding.place) is holding:
            del self._held[holding.place]

    async def _write(self, holding: Holding) -> None:
        """Write one position; when it fails it stays to be written."""
        holding.dirty = False
        try:
            for _ in range(TRIES):
                if await self._write_once(holding):
                    return
        except BackchannelError as problem:
            log.warning("a position was not written; it will be tried again", problem=str(problem))
        holding.dirty = not holding.lost

    async def _write_once(self, holding: Holding) -> bool:
        try:
            holding.revision = await self._bucket.update(
                str(holding.place), holding.record.written(), holding.revision
            )
        except Conflict:
            return await self._reconcile(holding)
        return True

    async def _reconcile(self, holding: Holding) -> bool:
        """Somebody wrote in between: ourselves, unheard, or whoever took the place. True when all is said."""
        found = await self._bucket.get(str(holding.place))
        record = Record.read(found.payload) if found is not None else None
        if found is None or record is None or record.session != holding.record.session:
            holding.lost = True
            return True
        holding.revision = found.revision
        return record == holding.record
