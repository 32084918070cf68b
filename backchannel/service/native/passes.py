"""Passes: as whom each native connection was let in, and with which claims; kept until they lapse."""

from __future__ import annotations

import time
from collections.abc import Iterator

from pydantic import ValidationError

from backchannel.jetstream.bucket import Bucket, Value
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.tail import Tail
from backchannel.protocol.claims import Claims

BUCKET = "BC_native"
LONGEST = 31_536_000.0


class Passes:
    """This process's view of all passes; milliseconds behind. Grows with the bucket and with nothing else."""

    def __init__(self, connection: Connection) -> None:
        self._bucket = Bucket(connection, BUCKET)
        self._known: dict[str, Claims] = {}
        self._tail: Tail | None = None

    async def open(self) -> None:
        self._tail = await self._bucket.watch(">", self._take)

    async def close(self) -> None:
        if self._tail is not None:
            await self._tail.stop()

    async def issue(self, claims: Claims, server: str, client: int) -> None:
        """Before the server is told to let the connection in. Raises Unavailable."""
        payload = claims.model_dump_json(exclude_none=True).encode()
        left = min(max(claims.exp - time.time(), 1.0), LONGEST)
        agent = f"{claims.collaboration_group}.{claims.sub}"
        await self._bucket.put(agent, payload, ttl=left + 1)
        await self._bucket.put(f"{agent}.{server}.{client}", payload, ttl=left + 1)
        self._known[agent] = claims

    async def forget(self, group: str, agent: str, server: str, client: int) -> None:
        """The connection has ended."""
        await self._bucket.delete(f"{group}.{agent}.{server}.{client}")

    async def of(self, group: str, agent: str) -> Claims | None:
        """What the token says with which the agent was let in last; None if that has lapsed."""
        key = f"{group}.{agent}"
        if key not in self._known and (found := await self._bucket.get(key)) is not None:
            self._take(key, found)
        claims = self._known.get(key)
        return claims if claims is not None and claims.exp > time.time() else None

    def connections(self, group: str, agent: str = "") -> Iterator[tuple[Claims, str, int]]:
        """The connections of an agent, or of all in a group: claims, server, client."""
        start = f"{group}.{agent}." if agent else f"{group}."
        for key, claims in list(self._known.items()):
            if key.startswith(start) and key.count(".") == 3:
                server, client = key.split(".")[2:]
                yield claims, server, int(client)

    def find(self, server: str, client: int) -> Claims | None:
        """As whom this connection was let in."""
        end = f".{server}.{client}"
        return next((claims for key, claims in self._known.items() if key.endswith(end)), None)

    def _take(self, key: str, value: Value | None) -> None:
        try:
            claims = None if value is None else Claims.model_validate_json(value.payload)
        except ValidationError:
            claims = None
        if claims is None:
            self._known.pop(key, None)
        else:
            self._known[key] = claims
