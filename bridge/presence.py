"""Presence: a lease in BC_presence for each connection; it lapses by itself when a bridge dies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import pydantic_core
import structlog

from backchannel.errors import BackchannelError
from backchannel.jetstream.bucket import Bucket

log = structlog.get_logger("bridge.presence")
AT_ONCE = 64


class Lease(NamedTuple):
    """One connection's lease: its key, and what is said of the connection."""

    key: str
    said: dict[str, Any]
    now: Callable[[], dict[str, Any]]

    @property
    def content(self) -> bytes:
        return pydantic_core.to_json(self.said | self.now())


def lease(
    group: str, agent: str, connection_id: str, said: dict[str, Any], now: Callable[[], dict[str, Any]]
) -> Lease:
    """Says at each renewal how the connection is `now`."""
    told = {"agent_id": agent, "connection_id": connection_id, **said}
    return Lease(f"{group}.{agent}.{connection_id}", told, now)


class Presence:
    """The leases of the connections that live here.

    Args:
        seconds: for which an agent counts as online after the last renewal.
    """

    def __init__(self, bucket: Bucket, seconds: int) -> None:
        self._bucket = bucket
        self._seconds = seconds
        self._leases: dict[str, Lease] = {}

    async def add(self, held: Lease) -> None:
        """Raises Unavailable."""
        self._leases[held.key] = held
        await self._bucket.put(held.key, held.content, ttl=self._seconds)

    async def remove(self, key: str) -> None:
        """The connection has gone. If that cannot be said now, the lease lapses."""
        if self._leases.pop(key, None) is None:
            return
        try:
            await self._bucket.delete(key)
        except BackchannelError as problem:
            log.info("a lease was left to lapse", problem=str(problem))

    async def sweep(self) -> None:
        """Renew every lease; those that cannot be renewed are tried again with the next sweep."""
        held = list(self._leases.values())
        for start in range(0, len(held), AT_ONCE):
            await asyncio.gather(*(self._renew(one) for one in held[start : start + AT_ONCE]))

    async def _renew(self, held: Lease) -> None:
        if held.key not in self._leases:
            return
        try:
            await self._bucket.put(held.key, held.content, ttl=self._seconds)
        except BackchannelError as problem:
            log.warning("a lease was not renewed", problem=str(problem))
            return
        if held.key not in self._leases:  # it went while this was under way
            await self._bucket.delete(held.key)
