"""The NATS servers, asked by their system account: which agents are connected, and to close a connection."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, NamedTuple

import pydantic_core

from backchannel.delivery.native import ACCOUNT
from backchannel.errors import Unavailable
from backchannel.jetstream.connection import Connection

ANSWER_SECONDS = 2.0
PAGE = 512
MOST_PAGES = 256
AWAY = 15.0
"""Seconds without an answer after which a server counts as gone, and its connections with it. One that is
started anew has another id."""
MOST_AWAY = 256


class Open(NamedTuple):
    """A connection of an agent: its user as the platform named it, ``<group>.<agent>``, and since when."""

    user: str
    since: float


class Servers:
    """What is asked of servers by their ids."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._away: dict[str, float] = {}

    async def close(self, server: str, client: int) -> None:
        """Close a connection; one that is not there any more is no matter. Raises Unavailable."""
        await self._ask(server, "KICK", {"cid": client})

    async def open_at(self, server: str) -> dict[int, Open] | None:
        """Every connection of an agent at a server, by its number there; None if the server is gone.

        Raises:
            Unavailable: it does not answer now, or not with all of them.
        """
        found: dict[int, Open] = {}
        for page in range(MOST_PAGES):
            wanted = {"acc": ACCOUNT, "auth": True, "offset": page * PAGE, "limit": PAGE, "sort": "cid"}
            told = await self._ask(server, "CONNZ", wanted)
            if told is None:
                return None
            listed = told.get("connections") or []
            for one in listed:
                since = datetime.fromisoformat(str(one["start"])[:19] + "+00:00").timestamp()
                found[int(one["cid"])] = Open(str(one.get("authorized_user") or ""), since)
            if len(listed) < PAGE:
                return found
        raise Unavailable(f"The NATS server {server} lists more connections than are looked through.")

    async def _ask(self, server: str, what: str, content: dict[str, Any]) -> dict[str, Any] | None:
        """The data of an answer; None where the server has been away for long."""
        subject = f"$SYS.REQ.SERVER.{server}.{what}"
        try:
            reply = await self._connection.request(
                subject, pydantic_core.to_json(content), timeout=ANSWER_SECONDS
            )
        except Unavailable:
            if self._is_gone(server):
                return None
            raise
        self._away.pop(server, None)
        try:
            answer = pydantic_core.from_json(reply.payload)
        except ValueError:
            raise Unavailable(f"The answer of the NATS server {server} cannot be read.") from None
        data = answer.get("data") if isinstance(answer, dict) else None
        return data if isinstance(data, dict) else {}

    def _is_ours(self, server: str) -> bool:
        return server == self._connection.server_id

    def _is_gone(self, server: str) -> bool:
        """Whether it has not answered for AWAY seconds. While our own connection is down, nobody is away.

        Where there is one server, ours, any other is what it was called before it was started anew.
        """
        if not self._connection.up:
            self._away.clear()
            return False
        if not self._connection.clustered and not self._is_ours(server):
            return True
        if len(self._away) >= MOST_AWAY and server not in self._away:
            self._away.pop(next(iter(self._away)))
        return time.monotonic() - self._away.setdefault(server, time.monotonic()) > AWAY
