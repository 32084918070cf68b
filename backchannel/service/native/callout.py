"""The callout: a NATS server asks whom to let in; a platform's token as password is the way."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pydantic_core

from backchannel.delivery.doors import At, Check, Door, composed
from backchannel.delivery.native import ACCOUNT, permissions
from backchannel.delivery.pace import TokenBucket
from backchannel.delivery.token import BadToken
from backchannel.domain.audit import Deed
from backchannel.domain.directory import entry_after_arrival
from backchannel.errors import BackchannelError, Conflict, Expired, Forbidden
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Arrived
from backchannel.jetstream.nkey import SERVER, USER, Nkey, decoded, read_signed
from backchannel.logger import Logger
from backchannel.protocol.claims import Claims
from backchannel.protocol.identifier import is_identifier
from backchannel.protocol.message import rfc3339
from backchannel.service.house import House
from backchannel.service.keyring import Keyring
from backchannel.service.native.consumer import ensure
from backchannel.service.native.passes import Held, Passes
from backchannel.service.native.servers import Servers
from backchannel.service.nonces import Nonces

log = Logger(__name__)
SUBJECT = "$SYS.REQ.USER.AUTH"
AT_ONCE = 64
TRIES = 5
NOTES_PER_SECOND, MOST_NOTES = 2.0, 50.0
LOGINS_PER_SECOND, MOST_LOGINS = 5.0, 30.0
"""Of one agent: in the long run, and at once. Each of them is several requests."""
MOST_KNOWN = 10_000
MOST_CONNECTIONS = 2
LONGEST = 100 * 31_536_000
"""Seconds for which a connection may be let in; the server counts in 64 bits of nanoseconds."""
ON_ITS_WAY = 10.0
"""Seconds for which a connection may have a pass and not be listed by its server yet."""
REFUSED = "refused"
"""All that a stranger is told; why is in the log of the platform."""


@dataclass(slots=True)
class Login:
    """Somebody wants in: the name and the token it shows, and the number of its connection at that server."""

    name: str
    token: str = field(repr=False)
    server: str
    client: int
    claims: Claims | None = None

    @property
    def bearer(self) -> Claims:
        """Who it is, once its token has been believed."""
        assert self.claims is not None
        return self.claims


class TooMany(Forbidden):
    """The agent has as many connections as it may have."""


class NameTaken(Forbidden):
    """Somebody of the same name in another group is connected; answers to both would go to one inbox."""


class Flooded(Forbidden):
    """The agent is kept out for a while."""


class Callout:
    """Answers the NATS servers. Several processes may; each request is answered by one of them."""

    def __init__(self, house: House, keyring: Keyring, key: Nkey, passes: Passes, servers: Servers) -> None:
        self._house = house
        self._keyring = keyring
        self._key = key
        self._passes = passes
        self._servers = servers
        self._nonces = Nonces(Bucket(house.connection, "BC_nonces"))
        self._running: set[asyncio.Task[None]] = set()
        self._ink = TokenBucket(NOTES_PER_SECOND, MOST_NOTES)
        self._unnoted = 0
        self._paces: OrderedDict[tuple[str, str], TokenBucket] = OrderedDict()
        self._steps = composed(
            Door.NATIVE_LOGIN,
            At.ARRIVAL,
            {
                Check.IDENTITY: self._believe,
                Check.KEY: self._believe,
                Check.REVOCATION: self._believe,
                Check.RIGHTS: self._believe,
                Check.PACE: self._require_pace,
                Check.ROOM: self._require_room,
                Check.NONCE: self._spend_nonce,
            },
        )

    async def open(self) -> None:
        await self._house.connection.subscribe(SUBJECT, self._arrived, queue="callout")

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _arrived(self, request: Arrived) -> None:
        if request.reply and len(self._running) < AT_ONCE:  # beyond that the client comes again
            task = asyncio.get_running_loop().create_task(self._answer(request))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _answer(self, request: Arrived) -> None:
        try:
            asked = read_signed(request.payload.decode(), SERVER)["nats"]
            server, user = str(asked["server_id"]["id"]), str(asked["user_nkey"])
            decoded(USER, user)
        except (BackchannelError, KeyError, TypeError, UnicodeDecodeError) as problem:
            log.warning("callout_unreadable", error=str(problem))
            return
        said = await self._decide(asked, server, user)
        answer = {"type": "authorization_response", "version": 2, **said}
        signed = self._key.signed({"sub": user, "aud": server, "iat": int(time.time()), "nats": answer})
        try:
            await self._house.connection.send(request.reply, signed.encode())
        except BackchannelError as error:
            log.warning("callout_answer_lost", error=error.message)

    async def _decide(self, asked: dict[str, Any], server: str, user: str) -> dict[str, str]:
        options, client = asked.get("connect_opts") or {}, asked.get("client_info") or {}
        name, token = str(options.get("user") or ""), str(options.get("pass") or "")
        login = Login(name, token, server, int(client.get("id", 0)))
        try:
            for step in self._steps:
                await step(login)
            claims = await self._welcome(login)
        except (Expired, BadToken, Forbidden) as refusal:
            self._note_refusal(name, str(client.get("host") or ""), refusal)
            return {"error": REFUSED}
        except BackchannelError as error:
            log.warning("native_agent_not_let_in", agent=name[:64], error=error.message)
            return {"error": "try again"}
        except Exception:
            log.exception("callout_failed")
            return {"error": "try again"}
        return {"jwt": self._key.signed(user_claims(claims, user))}

    async def _believe(self, login: Login) -> None:
        """Raises Expired, BadToken, Forbidden."""
        claims = self._keyring.verify(login.token)
        if login.name != claims.sub:
            raise Forbidden(f"The user {login.name[:64]!r} shows a token for {claims.sub!r}.")
        login.claims = claims

    async def _require_pace(self, login: Login) -> None:
        """Raises Flooded."""
        self._require_quiet(login.bearer)
        who = (login.bearer.collaboration_group, login.bearer.sub)
        pace = self._paces.setdefault(who, TokenBucket(LOGINS_PER_SECOND, MOST_LOGINS))
        self._paces.move_to_end(who)
        if len(self._paces) > MOST_KNOWN:
            self._paces.popitem(last=False)
        if not login.bearer.is_worker and pace.take(time.monotonic()):
            raise Flooded(f"{login.name!r} comes in more than {LOGINS_PER_SECOND:g} times a second.")

    def _require_quiet(self, claims: Claims) -> None:
        """Raises Flooded."""
        if seconds := self._passes.barred_for(claims.collaboration_group, claims.sub):
            raise Flooded(
                f"{claims.sub!r} is kept out for {seconds:.0f} s more: it sent far more than it may."
            )

    async def _spend_nonce(self, login: Login) -> None:
        """A token with a nonce opens one connection. A server that asks twice means the same one."""
        claims = login.bearer
        if claims.nonce is None:
            return
        if not await self._nonces.spend(claims, f"{login.server}.{login.client}", time.time()):
            raise Forbidden(f"The token of {claims.sub!r} has opened its one connection.")

    async def _welcome(self, login: Login) -> Claims:
        """All that must be there before the first thing it does."""
        claims = login.bearer
        group, agent = claims.collaboration_group, claims.sub
        await self._register(claims)
        if not claims.is_worker:
            await ensure(self._house.connection, group, agent)
        held = await self._passes.issue(claims, login.server, login.client)
        try:
            await self._look_again(claims, held)
        except BackchannelError:
            await self._passes.forget(held)
            raise
        facts = {"client": login.client, "server": login.server, "token_id": claims.jti}
        self._house.trail.note(Deed(group, "connection", agent, "native_connected", facts))
        return claims

    async def _look_again(self, claims: Claims, held: Held) -> None:
        """Others come in and rights change at the same time; from here on every process knows of this one.

        Raises:
            Forbidden: its token counts no more, enough others came before it, or it is kept out by now.
        """
        if (why := self._keyring.why_not_any_more(claims)) is not None:
            raise Forbidden(why)
        self._require_quiet(claims)
        foreign = await self._passes.elsewhere(held.group, held.agent)
        if any(one.revision < held.revision for one in foreign):
            raise _name_taken(held.agent)
        if not claims.is_worker:
            listed = await self._passes.held(held.group, held.agent)
            if sum(one.revision < held.revision for one in listed) >= MOST_CONNECTIONS:
                raise TooMany(f"{held.agent!r} came in several times at once.")

    async def _require_room(self, login: Login) -> None:
        """An agent has MOST_CONNECTIONS native connections at most; whatever has ended meanwhile makes room.

        Workers are as many as their operator starts: they share the calls of their tools. An inbox is named
        after the agent alone, so it may have connections in one group at a time. Raises Forbidden.
        """
        claims, mine = login.bearer, (login.server, login.client)
        group, agent = claims.collaboration_group, claims.sub
        if await self._open_among(await self._passes.elsewhere(group, agent)):
            raise _name_taken(agent)
        if claims.is_worker:
            return
        held = await self._passes.held(group, agent)
        others = [one for one in held if (one.server, one.client) != mine]
        if len(others) < MOST_CONNECTIONS:
            return
        if (there := await self._open_among(others)) >= MOST_CONNECTIONS:
            raise TooMany(f"{agent!r} has {there} native connections already; close one of them first.")

    async def _open_among(self, others: Sequence[Held]) -> int:
        """How many of these connections are open; those that are not are forgotten. Raises Unavailable."""
        there = 0
        for place in {one.server for one in others}:
            found = await self._servers.open_at(place) or {}
            for one in others:
                if one.server == place and one.client not in found and one.issued < time.time() - ON_ITS_WAY:
                    await self._passes.forget(one)
                elif one.server == place:
                    there += 1
        return there

    async def _register(self, claims: Claims) -> None:
        """It is known from its first connection on, by whichever door."""
        bucket, key = self._house.agents, f"{claims.collaboration_group}.{claims.sub}"
        for _ in range(TRIES):
            found = await bucket.get(key)
            former = {} if found is None else pydantic_core.from_json(found.payload)
            entry = entry_after_arrival(former, claims, None, rfc3339(datetime.now(UTC)))
            if entry == former:
                return
            try:
                if found is None:
                    await bucket.create(key, pydantic_core.to_json(entry))
                else:
                    await bucket.update(key, pydantic_core.to_json(entry), found.revision)
                return
            except Conflict:
                continue

    def _note_refusal(self, name: str, host: str, refusal: BackchannelError) -> None:
        if self._ink.take(time.time()):  # whoever hammers at the door must fill neither the trail nor the log
            self._unnoted += 1
            return
        log.warning(
            "native_agent_refused",
            agent=name[:64],
            address=host,
            reason=refusal.message,
            unnoted=self._unnoted,
        )
        entity = name if is_identifier(name) else "unknown"
        facts = {"address": host, "why": type(refusal).__name__, "unnoted": self._unnoted}
        self._unnoted = 0
        self._house.trail.note(Deed(self._house.groups[0], "security", entity, "native_refused", facts))


def _name_taken(agent: str) -> NameTaken:
    return NameTaken(f"{agent!r} of another group is connected over NATS; one of the two needs another name.")


def user_claims(claims: Claims, user: str) -> dict[str, Any]:
    """What the server shall know of the connection: who it is, what it may do, and when it must end."""
    rights: dict[str, Any] = {name: dict(lists) for name, lists in permissions(claims).items()}
    unlimited = {"subs": -1, "data": -1, "payload": -1}
    return {
        "sub": user,
        "aud": ACCOUNT,
        "name": f"{claims.collaboration_group}.{claims.sub}",
        "iat": int(time.time()),
        "exp": min(claims.exp, int(time.time()) + LONGEST),
        "nats": {"type": "user", "version": 2, **rights, **unlimited},
    }
