"""Passes: as whom each native connection was let in, by which token and key; kept while it is open."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backchannel.domain.narrowest import narrowest
from backchannel.jetstream.bucket import Bucket, Value
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.tail import Tail
from backchannel.protocol.claims import Claims

BUCKET = "BC_native"
BARRED = "barred"
"""Keys ``<group>.barred.<agent>`` lapse by themselves."""

LONGEST = 31_536_000.0


class Pass(BaseModel):
    """What lies under ``<group>.<agent>.<server>.<client>``. The key that signed the token is part of it: the
    claims alone, as a token has them, do not say which that was."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kid: Annotated[str, Field(min_length=1, max_length=64)]
    issued: float
    claims: Claims


@dataclass(frozen=True, slots=True)
class Held:
    """One connection. `claims` is None where its pass cannot be read: then it may do nothing, and is ended.

    `revision` orders connections by when they came; `issued` is in seconds since 1970, 0.0 where unreadable.
    """

    group: str
    agent: str
    server: str
    client: int
    claims: Claims | None
    revision: int
    issued: float = 0.0


class Passes:
    """This process's view of all passes; milliseconds behind. Grows with the bucket and with nothing else.

    Args:
        believed: whether a token that was verified before is believed now.
    """

    def __init__(self, connection: Connection, believed: Callable[[Claims], bool]) -> None:
        self._bucket = Bucket(connection, BUCKET)
        self._believed = believed
        self._known: dict[tuple[str, str], dict[tuple[str, int], Held]] = {}
        self._narrowest: dict[tuple[str, str], Claims | None] = {}
        self._barred: dict[tuple[str, str], float] = {}
        self._tail: Tail | None = None
        self._listeners: list[Callable[[str, str], None]] = []

    def on_change(self, listener: Callable[[str, str], None]) -> None:
        """Tell it the group and the agent whenever a native connection of theirs comes or goes."""
        self._listeners.append(listener)

    def forget_change(self, listener: Callable[[str, str], None]) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)

    async def open(self) -> None:
        self._tail = await self._bucket.watch(">", self._take)

    async def close(self) -> None:
        if self._tail is not None:
            await self._tail.stop()

    async def issue(self, claims: Claims, server: str, client: int) -> Held:
        """Before the server is told to let the connection in. Raises Unavailable."""
        now = time.time()
        left = min(max(claims.exp - now, 1.0), LONGEST)
        key = f"{claims.collaboration_group}.{claims.sub}.{server}.{client}"
        payload = Pass(kid=str(claims.kid or ""), issued=now, claims=claims).model_dump_json(
            exclude_none=True
        )
        value = Value(payload.encode(), await self._bucket.put(key, payload.encode(), ttl=left + 1))
        self._take(key, value)
        return _read(claims.collaboration_group, claims.sub, server, client, value)

    async def forget(self, held: Held) -> None:
        """The connection has ended."""
        await self._bucket.delete(f"{held.group}.{held.agent}.{held.server}.{held.client}")

    def of(self, group: str, agent: str) -> Claims | None:
        """What all its native connections are allowed to do; None if none of their tokens counts any more.

        Nobody can tell which of them published a message, so none lends another one anything. One that was
        revoked counts until the server has closed it, and then no more.
        """
        held = self._of(group, agent)
        claims = [one.claims for one in held if one.claims is not None]
        if len(claims) < len(held) or not any(self.counts(one) for one in claims):
            return None
        if len(claims) == 1:
            return claims[0]
        key = (group, agent)
        if key not in self._narrowest:
            self._narrowest[key] = narrowest(claims)
        return self._narrowest[key]

    async def catch_up(self) -> None:
        """Wait until everybody who was let in by now is known here. Raises Unavailable."""
        if self._tail is not None:
            await self._bucket.reached(self._tail)

    async def known(self, group: str, agent: str) -> None:
        """Wait until an agent is known here that another process let in a moment ago. Raises Unavailable."""
        if not self._known.get((group, agent)):
            await self.held(group, agent)

    async def held(self, group: str, agent: str) -> list[Held]:
        """All connections of an agent, also those that another process let in a moment ago."""
        for key, value in await self._bucket.entries(f"{group}.{agent}.*.*"):
            self._take(key, value)
        return self._of(group, agent)

    async def elsewhere(self, group: str, agent: str) -> list[Held]:
        """Connections of the same name in other groups. Raises Unavailable."""
        found = []
        for key, value in await self._bucket.entries(f"*.{agent}.*.*"):
            of_group, _, server, client = key.split(".")
            if of_group != group:
                found.append(_read(of_group, agent, server, int(client), value))
        return found

    def counts(self, claims: Claims) -> bool:
        """Whether a token is believed now, and has not expired."""
        return claims.exp > time.time() and self._believed(claims)

    def connections(self, group: str, agent: str | None = None) -> Iterator[Held]:
        """The connections of an agent, or of all in a group."""
        if agent is not None:
            yield from self._of(group, agent)
            return
        for (of_group, _), held in list(self._known.items()):
            if of_group == group:
                yield from list(held.values())

    def find(self, server: str, client: int) -> Held | None:
        """As whom this connection was let in."""
        return next((held[server, client] for held in self._known.values() if (server, client) in held), None)

    def _of(self, group: str, agent: str) -> list[Held]:
        return list(self._known.get((group, agent), {}).values())

    # ---- who is kept out for a while

    def bar(self, group: str, agent: str, seconds: float) -> None:
        """Let nobody of this name in over NATS for so many seconds; here at once."""
        self._barred[group, agent] = time.time() + seconds

    async def write_bar(self, group: str, agent: str) -> None:
        """Have the other processes do so, too. Raises Unavailable."""
        if seconds := self.barred_for(group, agent):
            until = repr(self._barred[group, agent]).encode()
            await self._bucket.put(f"{group}.{BARRED}.{agent}", until, ttl=max(seconds, 1.0))

    def barred_for(self, group: str, agent: str) -> float:
        """Seconds for which an agent is kept out still; 0.0 if it is not."""
        return max(0.0, self._barred.get((group, agent), 0.0) - time.time())

    @property
    def any_barred(self) -> bool:
        """Whether anybody is kept out."""
        now = time.time()
        self._barred = {key: until for key, until in self._barred.items() if until > now}
        return bool(self._barred)

    # ---- following the bucket

    def _take(self, key: str, value: Value | None) -> None:
        parts = key.split(".")
        if len(parts) == 3 and parts[1] == BARRED:
            self._take_bar((parts[0], parts[2]), value)
        elif len(parts) == 4 and parts[3].isdigit():
            self._take_pass(parts[0], parts[1], parts[2], int(parts[3]), value)

    def _take_pass(self, group: str, agent: str, server: str, client: int, value: Value | None) -> None:
        self._narrowest.pop((group, agent), None)
        known = self._known.setdefault((group, agent), {})
        if value is not None:
            known[server, client] = _read(group, agent, server, client, value)
        else:
            known.pop((server, client), None)
        if not known:
            del self._known[group, agent]
        for listener in tuple(self._listeners):
            listener(group, agent)

    def _take_bar(self, key: tuple[str, str], value: Value | None) -> None:
        try:
            self._barred[key] = float(value.payload) if value is not None else 0.0
        except ValueError:
            self._barred[key] = 0.0
        if not self._barred[key]:
            del self._barred[key]


def _read(group: str, agent: str, server: str, client: int, value: Value) -> Held:
    unreadable = Held(group, agent, server, client, None, value.revision)
    try:
        found = Pass.model_validate_json(value.payload)
    except ValidationError:
        return unreadable
    if (found.claims.collaboration_group, found.claims.sub) != (group, agent):
        return unreadable
    return replace(unreadable, claims=found.claims.verified_with(found.kid), issued=found.issued)
