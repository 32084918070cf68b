"""Waiting: an agent waits for an answer, for a while, and never in a circle."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import Counter
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from backchannel.domain.waits import Wait
from backchannel.errors import BackchannelError, QueueFull
from backchannel.protocol.catalog import bad_message
from backchannel.protocol.claims import Claims
from backchannel.protocol.identifier import Identifier
from backchannel.protocol.json_object import read_object
from backchannel.protocol.message import ShortText, one_form
from backchannel.service.waits import WaitGraph
from bridge.exchanges import Key
from bridge.feed import Feed
from bridge.reading import readable

MOST = 4
"""Waits of one agent at this bridge."""

LEASE = 10.0
RENEWED_EACH = 4.0
"""A wait stands for so long after its bridge was last heard of."""


class Asked(BaseModel):
    """What a `wait_for` asks for."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, populate_by_name=True)

    message_id: ShortText | None = None
    reply_to: ShortText | None = None
    sender: Identifier | None = Field(default=None, alias="from")
    timeout: float = Field(default=30.0, gt=0, le=55)

    @model_validator(mode="after")
    def _something(self) -> Asked:
        if self.message_id is self.reply_to is self.sender is None:
            raise ValueError("say what to wait for: message_id, reply_to or from")
        return self

    @property
    def key(self) -> Key:
        if self.message_id is not None:
            return ("message", one_form(self.message_id))
        if self.reply_to is not None:
            return ("reply", one_form(self.reply_to))
        return ("from", self.sender or "")


class Waiting:
    """The waits of one bridge. Each is one future and one entry in the graph, gone when it ends."""

    def __init__(self, graph: WaitGraph) -> None:
        self._graph = graph
        self._held: Counter[tuple[str, str]] = Counter()

    async def wait(self, claims: Claims, feed: Feed, params: dict[str, Any]) -> dict[str, Any]:
        """The event that was waited for, or that it did not come.

        Raises:
            BadMessage: it does not say what to wait for, or for longer than 55 seconds.
            WouldDeadlock: whoever should answer waits for this agent.
            QueueFull: this agent waits too often at a time.
            Unavailable: it cannot be entered in the graph now.
        """
        asked = _read(params)
        owner = (feed.group, claims.sub)
        if self._held[owner] >= MOST:
            raise QueueFull(f"An agent may wait for {MOST} answers at a time.", retry_after=1.0)
        self._held[owner] += 1
        try:
            return await self._wait(claims, feed, asked)
        finally:
            self._held[owner] -= 1
            self._held += Counter()  # keeps those above zero

    async def _wait(self, claims: Claims, feed: Feed, asked: Asked) -> dict[str, Any]:
        coming = feed.exchanges.await_event(asked.key, claims.sub, claims.sidebar_access, asked.sender)
        try:
            if asked.key[0] != "from" and (found := await self._before(claims, feed, asked)) is not None:
                return found
            return await self._with_edge(claims, feed, asked, coming)
        finally:
            feed.exchanges.forget(asked.key, coming)

    async def _with_edge(
        self, claims: Claims, feed: Feed, asked: Asked, coming: asyncio.Future[tuple[int, bytes]]
    ) -> dict[str, Any]:
        end = time.time() + asked.timeout
        others = {asked.sender} if asked.sender else feed.exchanges.called(asked.key)
        on = tuple(sorted(one for one in others if one))
        if not on:
            return _told(feed, await _within(coming, asked.timeout))
        wait = Wait(secrets.token_hex(8), claims.sub, on, min(end, time.time() + LEASE))
        await self._graph.enter(feed.group, wait, time.time())
        try:
            while (left := end - time.time()) > 0:
                found = await _within(coming, min(left, RENEWED_EACH))
                if found is not None:
                    return _told(feed, found)
                now = time.time()
                if now < end:
                    await self._graph.renew(feed.group, wait.key, min(end, now + LEASE), now)
            return _told(feed, None)
        finally:
            await asyncio.shield(self._leave(feed.group, wait.key))

    async def _leave(self, group: str, key: str) -> None:
        with contextlib.suppress(BackchannelError):  # it lapses by itself
            await self._graph.leave(group, key, time.time())

    async def _before(self, claims: Claims, feed: Feed, asked: Asked) -> dict[str, Any] | None:
        """It may have come before it was waited for."""
        place = feed.exchanges.place_of(asked.key)
        if place is None:
            return None
        for record in (await feed.page(place - 1, ">", place)).records:
            found = readable(record)
            if found is None or not feed.membership.sees(
                claims.sub, found.to, record.sequence, claims.sidebar_access
            ):
                continue
            if asked.sender in (None, read_object(record.payload).get("sender_agent_id")):
                return _told(feed, (record.sequence, record.payload))
        return None


def _read(params: dict[str, Any]) -> Asked:
    try:
        return Asked.model_validate(params)
    except ValidationError as error:
        raise bad_message(error) from None


async def _within(coming: asyncio.Future[tuple[int, bytes]], seconds: float) -> tuple[int, bytes] | None:
    done, _ = await asyncio.wait((coming,), timeout=seconds)
    return coming.result() if done else None


def _told(feed: Feed, found: tuple[int, bytes] | None) -> dict[str, Any]:
    outcome: Literal["answered", "timed_out"] = "answered" if found else "timed_out"
    if found is None:
        return {"outcome": outcome, "event": None}
    sequence, payload = found
    return {"outcome": outcome, "event": read_object(payload) | {"cursor": feed.cursor_at(sequence)}}
