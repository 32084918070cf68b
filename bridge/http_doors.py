"""The doors of HTTP: what a request has to pass before it is answered, in the order of the table of doors."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias
from uuid import uuid4

from starlette.requests import ClientDisconnect, Request

from backchannel.delivery.doors import At, Check, Door, composed
from backchannel.delivery.permit import check
from backchannel.errors import (
    BackchannelError,
    BadMessage,
    Forbidden,
    RateLimited,
    Refused,
    TooLarge,
    Unavailable,
)
from backchannel.protocol.catalog import read_message
from backchannel.protocol.json_object import read_object
from bridge.body import read_body
from bridge.config import Config
from bridge.host import Site
from bridge.leave import leave_in
from bridge.upgrade import Gate, TurnedAway
from bridge.visit import Owner, Visit

ANSWER_BYTES = 65_536
"""The most that an answer to a request for approval may be."""

UNDER_WAY = 32
"""Requests of one sender that may be under way at a time."""

WIDER = ("together", "allow", "decisions")
"""What an answer may hold that reaches beyond its one request."""

ONE_ANSWER = frozenset(
    ("message_id", "request_id", "approved", "reason", "alternatives", "conditions", "reschedule", "leave")
)
"""What is left of an answer by leave: whatever else a program sends along has no say in it."""

STATUS = {
    "too_large": 413,
    "forbidden": 403,
    "wrong_sender": 403,
    "quarantined": 403,
    "expired": 401,
    "conflict": 409,
    "rate_limited": 429,
    "queue_full": 503,
    "unavailable": 503,
    "degraded": 503,
    "internal": 500,
}
"""How an error is answered; every other one is the fault of what was sent: 422."""

Step: TypeAlias = Callable[[Visit], Awaitable[None]]


class Doors:
    """Every door of HTTP with its steps; the process does not start where one is missing."""

    def __init__(
        self, config: Config, site: Site, gate: Gate, clock: Callable[[], float] = time.time
    ) -> None:
        self._config = config
        self._clock = clock
        self._site = site
        self._gate = gate
        self._under_way: Counter[Owner] = Counter()
        self._steps = {door: composed(door, At.MESSAGE, steps) for door, steps in self._table().items()}
        record = {Check.AUDIT: self._record}
        self._records = {door: composed(door, At.REFUSAL, record) for door in self._steps}

    def _table(self) -> Mapping[Door, Mapping[Check, Step]]:
        everywhere: dict[Check, Step] = {Check.HOST: self._host}
        known: dict[Check, Step] = {
            **everywhere,
            Check.ORIGIN: self._origin,
            Check.IDENTITY: self._bearer,
            Check.ROOM: self._room,
            Check.PACE: self._pace,
            Check.NONCE: self._nonce,
            Check.KEY: self._still,
            Check.REVOCATION: self._still,
        }
        writing: dict[Check, Step] = {**known, Check.SIZE: self._body, Check.BYTES: self._pace}
        by_token: dict[Check, Step] = {**writing, Check.WORK: self._answer, Check.RIGHTS: self._is_human}
        by_leave: dict[Check, Step] = {
            **by_token,
            Check.IDENTITY: self._by_leave,
            Check.REVOCATION: self._still_by_leave,
            Check.RIGHTS: self._only_one,
        }
        del by_leave[Check.NONCE], by_leave[Check.KEY]
        return {
            Door.PAGE: everywhere,
            Door.NUMBERS: {**known, Check.IDENTITY: self._here_or_bearer},
            Door.STORE: {**writing, Check.WORK: self._update, Check.RIGHTS: self._may_store},
            Door.APPROVALS: by_token,
            Door.LEAVE: by_leave,
        }

    @asynccontextmanager
    async def passed(self, door: Door, request: Request) -> AsyncIterator[Visit]:
        """A request that has passed everything; what is refused then, or before, is on record.

        Raises:
            TurnedAway, BackchannelError, HTTPException: it has not.
        """
        visit = Visit(door, request)
        try:
            for step in self._steps[door]:
                await step(visit)
            yield visit
        except (BackchannelError, TurnedAway) as refusal:
            for record in self._records[door]:
                record(visit, refusal)
            raise
        finally:
            if visit.counted is not None:
                self._gone(visit.counted)

    async def shows_numbers(self, request: Request) -> bool:
        """Whether whoever asks may know more than everybody. Who shows no token wants no more."""
        try:
            visit = Visit(Door.NUMBERS, request)
            if not visit.is_here and self._gate.token_in(visit) is None:
                return False
            async with self.passed(Door.NUMBERS, request):
                return True
        except (BackchannelError, TurnedAway):
            return False

    def _gone(self, owner: Owner) -> None:
        self._under_way[owner] -= 1
        if not self._under_way[owner]:
            del self._under_way[owner]

    # ---- who it is

    async def _host(self, visit: Visit) -> None:
        scope = visit.request.scope
        server = scope.get("server")
        target = bytes(scope.get("raw_path") or b"/").decode("latin-1")
        old = scope.get("http_version") == "1.0"
        self._gate.check_host(visit, server[0] if server else None, target=target, old=old)

    async def _origin(self, visit: Visit) -> None:
        self._gate.check_origin(visit)

    async def _bearer(self, visit: Visit) -> None:
        if visit.door is not Door.NUMBERS:
            self._require_serving()
        visit.claims = self._gate.verified(self._gate.token_in(visit))
        visit.owner = visit.claims.collaboration_group, visit.claims.sub

    async def _here_or_bearer(self, visit: Visit) -> None:
        """A program of this very machine needs no token, unless it passes on what others ask."""
        if not visit.is_here or self._gate.token_in(visit) is not None:
            await self._bearer(visit)

    async def _by_leave(self, visit: Visit) -> None:
        self._require_serving()
        shown = leave_in(visit.request.headers.get("authorization", ""))
        if shown is None or len(visit.get_all("authorization")) > 1:
            raise TurnedAway(401, "no_token", "This needs leave to answer.")
        visit.leave = await self._site.host.verified(shown)
        visit.owner = visit.leave.group, visit.leave.human
        visit.content["leave"] = shown.text

    def _require_serving(self) -> None:
        if not self._site.serving:
            raise Unavailable("The bridge is starting or shutting down; try again.", retry_after=1)

    # ---- how much

    async def _room(self, visit: Visit) -> None:
        if visit.owner is None:
            return
        if self._under_way[visit.owner] >= UNDER_WAY:
            problem = f"{visit.owner[1]} has {UNDER_WAY} requests under way; wait for an answer."
            raise RateLimited(problem, retry_after=1.0)
        self._under_way[visit.owner] += 1
        visit.counted = visit.owner

    async def _body(self, visit: Visit) -> None:
        limit = self._config.max_message_bytes
        if visit.door is not Door.STORE:
            limit = min(limit, ANSWER_BYTES)
        try:
            visit.body = await read_body(visit.request, limit, self._config, visit.comes)
        except (TooLarge, TurnedAway, ClientDisconnect):
            await self._pace(visit)  # it was read, whatever became of it
            raise

    async def _pace(self, visit: Visit) -> None:
        """Messages and bytes are charged here, at once, and nowhere else."""
        if visit.owner is not None:
            self._site.host.charge(visit.owner, visit.received)

    async def _update(self, visit: Visit) -> None:
        visit.content = read_object(visit.body)
        if visit.content.get("type") != "memory_update":
            raise BadMessage("Only a 'memory_update' can be stored here.", field="type")
        visit.message = read_message(visit.content)

    async def _answer(self, visit: Visit) -> None:
        said = read_object(visit.body)
        said.pop("leave", None)
        said.setdefault("message_id", str(uuid4()))
        visit.content |= said | {"request_id": visit.request.path_params["request_id"]}

    # ---- whether it counts still, and for what

    async def _nonce(self, visit: Visit) -> None:
        if visit.claims is None or visit.claims.nonce is None:
            return
        if not await self._site.host.spend(visit.claims):
            self._gate.blotter.suspect("nonce_used_again", visit.claims, visit.remote)
            raise Forbidden("This token has been used; send a fresh one.")

    async def _still(self, visit: Visit) -> None:
        if visit.claims is not None:
            await self._site.host.fresh()
            self._gate.check_still(visit.claims)

    async def _still_by_leave(self, visit: Visit) -> None:
        """The human in whose name it is answered was not sent away meanwhile."""
        assert visit.leave is not None
        await self._site.host.fresh()
        inforce = self._gate.rights.of(visit.leave.group, visit.leave.human)
        if inforce is None:
            return
        if (inforce.revoked_before or 0) > visit.leave.iat or (inforce.barred_until or 0) > self._clock():
            raise Forbidden("The human in whose name this is answered was sent away since.")

    async def _may_store(self, visit: Visit) -> None:
        assert visit.message is not None and visit.claims is not None
        check(visit.message, self._gate.rights.effective(visit.claims), "active")

    async def _is_human(self, visit: Visit) -> None:
        if visit.claims is None or visit.claims.entity_type != "human":
            raise Forbidden("Only a human decides about tools; no agent or service does.")

    async def _only_one(self, visit: Visit) -> None:
        """Leave is for one answer to one request, and for nothing that reaches further."""
        assert visit.leave is not None
        if visit.leave.request_id != visit.content["request_id"]:
            raise Forbidden("The leave is for another request.", field="request_id")
        for wider in WIDER:
            if wider in visit.content:
                raise Forbidden(
                    f"By leave one request is answered, without {wider!r}; answer as yourself for more.",
                    field=wider,
                )
        visit.content = {name: value for name, value in visit.content.items() if name in ONE_ANSWER}

    # ---- what is written down

    def _record(self, visit: Visit, refusal: BackchannelError | TurnedAway) -> None:
        if isinstance(refusal, TurnedAway):
            self._gate.note(refusal, visit.remote)
        elif visit.owner is not None:
            self._gate.refused(visit.owner, refusal, visit.door.value)
        elif isinstance(refusal, Refused):
            self._gate.note(
                TurnedAway(STATUS.get(refusal.code, 422), refusal.code, refusal.message), visit.remote
            )
