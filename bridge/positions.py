"""Positions: how far each agent has acknowledged, and the session it may resume. Kept in BC_sessions."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import pydantic_core
import structlog

from backchannel.delivery.acknowledgement import named
from backchannel.delivery.resume import Standing
from backchannel.errors import BackchannelError, Conflict, Forbidden
from backchannel.jetstream.bucket import Bucket, Value
from backchannel.protocol.identifier import is_identifier
from bridge.seals import Seals, Tampered

log = structlog.get_logger("bridge.positions")
security = structlog.get_logger("bridge.security")
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

    @property
    def owner(self) -> str:
        """Whose session it is, whatever the purpose."""
        return f"{self.group}.{self.agent}"


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
    def read(cls, body: bytes) -> Record | None:
        """None if it cannot be read."""
        try:
            kept: dict[str, Any] = pydantic_core.from_json(body)
            standing = Standing(str(kept["epoch"]), int(kept["acked"]), int(kept["since"]))
            return cls(standing, str(kept["session"]), kept.get("previous"), tuple(kept.get("named") or ()))
        except (ValueError, KeyError, TypeError):
            log.warning("a position cannot be read")
            return None

    def written(self) -> bytes:
        sessions = {"session": self.session, "previous": self.previous}
        named = {"named": self.named} if self.named else {}
        return pydantic_core.to_json(asdict(self.standing) | sessions | named)

    @property
    def sessions(self) -> list[str]:
        """The digests of the session tokens that count."""
        return [self.session, *([self.previous] if self.previous else [])]


@dataclass(slots=True, eq=False)
class Holding:
    """A place while its connection lives here. `session` is the token for the next resume.

    `withdrawn` is the digest of the token before it, if that was in the wrong hands. `released`: the
    connection has gone. `lost`: somebody else has taken the place.
    """

    place: Place
    record: Record
    revision: int
    session: str = field(repr=False)
    withdrawn: str | None = None
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

    def confirm(self) -> bool:
        """The client has its new session token; the one before it ends. Whether there was one."""
        if self.record.previous is None:
            return False
        self._change(replace(self.record, previous=None))
        return True

    def withdraw(self, session: str, digest: str) -> None:
        """Another session token counts from now on, and none from before."""
        self.withdrawn, self.session = self.record.session, session
        self._change(replace(self.record, session=digest, previous=None))

    def _change(self, record: Record) -> None:
        self.record = record
        self.dirty = True


class Kept(NamedTuple):
    """What the bucket says of a place, and at which revision (0: nothing).

    `tampered`: what lies there was not written by the platform, and counts for nothing.
    """

    record: Record | None
    revision: int
    tampered: bool = False

    @property
    def standing(self) -> Standing | None:
        return self.record.standing if self.record else None


class Positions:
    """Every position held here; written about once a second, and at once when a connection ends."""

    def __init__(self, bucket: Bucket, seals: Seals) -> None:
        self._bucket = bucket
        self._seals = seals
        self._held: dict[Place, Holding] = {}
        self._writing = asyncio.Lock()

    async def look(self, place: Place) -> Kept:
        """What is kept of a place. Raises Unavailable."""
        held = self._held.get(place)
        if held is not None and held.dirty:
            await self._write(held)
        found = await self._bucket.get(str(place))
        if found is None:
            return Kept(None, 0)
        kept = self._opened(place, found)
        if held is not None and kept.record is not None and kept.record.session == held.record.session:
            return kept._replace(record=held.record)  # being written, perhaps: what ended there has ended
        return kept

    def recognises(self, place: Place, kept: Kept, session: str) -> bool:
        """Whether the session token is one of those that count at this place."""
        return kept.record is not None and self._seals.knows(place.owner, session, kept.record.sessions)

    def is_current(self, place: Place, kept: Kept, session: str) -> bool:
        """Whether it is the newest of them, which only whoever got it can know."""
        return kept.record is not None and self.bears(place, kept.record.session, session)

    def digest(self, place: Place, session: str) -> str:
        """What others may know of a session token."""
        return self._seals.digest(place.owner, session)

    def bears(self, place: Place, digest: str, session: str) -> bool:
        """Whether a digest is that of the session token."""
        return self._seals.knows(place.owner, session, [digest])

    async def claim(self, place: Place, kept: Kept, standing: Standing, presented: str | None) -> Holding:
        """Take a place with a new session token.

        Raises:
            Conflict: somebody else did since `kept` was read.
            Unavailable: it cannot be written now.
        """
        session = _fresh(place)
        known = kept.record.named if kept.record is not None else ()
        former = self.digest(place, presented) if presented else None
        taken = Record(standing, self.digest(place, session), former, known)
        if kept.revision:
            revision = await self._bucket.update(str(place), self._sealed(place, taken), kept.revision)
        else:
            revision = await self._bucket.create(str(place), self._sealed(place, taken))
        holding = Holding(place, taken, revision, session)
        before = self._held.get(place)
        if before is not None:
            before.lost, before.dirty = True, False
        self._held[place] = holding
        return holding

    async def withdraw(self, holding: Holding) -> None:
        """Its session token is in the wrong hands: another one counts, at once here, soon in the bucket."""
        session = _fresh(holding.place)
        holding.withdraw(session, self.digest(holding.place, session))
        await self._write(holding)

    async def release(self, holding: Holding) -> None:
        """The connection has gone; write what it acknowledged last, now or when that is possible again."""
        holding.released = True
        if holding.dirty:
            await self._write(holding)
        self._let_go(holding)

    async def write(self, holding: Holding) -> None:
        """Write one position now; if that is not possible it is written later."""
        if holding.dirty:
            await self._write(holding)

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

    def _sealed(self, place: Place, record: Record) -> bytes:
        return self._seals.sealed(str(place), record.written())

    def _opened(self, place: Place, found: Value) -> Kept:
        try:
            return Kept(Record.read(self._seals.opened(str(place), found.payload)), found.revision)
        except Tampered:
            security.error("stored_session_tampered", place=str(place), revision=found.revision)
            return Kept(None, found.revision, tampered=True)

    async def _write_once(self, holding: Holding) -> bool:
        try:
            holding.revision = await self._bucket.update(
                str(holding.place), self._sealed(holding.place, holding.record), holding.revision
            )
        except Conflict:
            return await self._reconcile(holding)
        return True

    async def _reconcile(self, holding: Holding) -> bool:
        """Somebody wrote in between: ourselves, unheard, or whoever took the place. True when all is said."""
        found = await self._bucket.get(str(holding.place))
        record = self._opened(holding.place, found).record if found is not None else None
        ours = (holding.record.session, holding.withdrawn)
        if found is None or record is None or record.session not in ours:
            holding.lost = True
            return True
        holding.revision = found.revision
        return record == holding.record


def owner_of(session: str) -> tuple[str, str] | None:
    """Group and agent to whom a session token says it was given; only `Positions.recognises` proves it."""
    _, group, agent = (*session.split("."), "", "")[:3]
    return (group, agent) if is_identifier(group) and is_identifier(agent) else None


def _fresh(place: Place) -> str:
    """256 bits that nobody can guess, and whose it is: one that turns up elsewhere leads to its owner."""
    return f"{secrets.token_urlsafe(32)}.{place.group}.{place.agent}"
