"""The directory: which agents a group knows. A watch on BC_agents, kept in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pydantic_core
import structlog

from backchannel.domain.directory import bounded, entry_after_arrival, humans_of, specialties_in
from backchannel.errors import Conflict
from backchannel.jetstream.bucket import Bucket, Value
from backchannel.jetstream.tail import Tail
from backchannel.protocol.claims import Claims
from backchannel.protocol.frame import Intake, Quality
from backchannel.protocol.message import rfc3339

log = structlog.get_logger("bridge.directory")
TRIES = 5
AT_ONCE = 32
"""Agents that the bucket is asked about at a time."""


class Directory:
    """Every agent known, by group and name; grows with the bucket and with nothing else."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._known: dict[str, frozenset[str]] = {}
        self._skilled: dict[str, set[str]] = {}
        self._watch: Tail | None = None

    async def open(self) -> None:
        """Read the bucket and stay informed. Raises Unavailable."""
        self._watch = await self._bucket.watch(on_value=self._heard, filter=">")

    async def close(self) -> None:
        if self._watch is not None:
            await self._watch.stop()

    def knows(self, group: str, agent: str) -> bool:
        return f"{group}.{agent}" in self._known

    def skilled(self, group: str, specialty: str) -> list[str]:
        """The agents of a group that have a specialty, by name."""
        return sorted(key.partition(".")[2] for key in self._skilled.get(f"{group}.{specialty}", ()))

    async def ask(self, group: str, agents: Iterable[str]) -> None:
        """Ask the bucket itself about agents not known here yet. Raises Unavailable."""
        unknown = [key for key in dict.fromkeys(f"{group}.{one}" for one in agents) if key not in self._known]
        for start in range(0, len(unknown), AT_ONCE):
            await asyncio.gather(*map(self._ask, unknown[start : start + AT_ONCE]))

    async def _ask(self, key: str) -> None:
        found = await self._bucket.get(key)
        if found is not None and key not in self._known:
            self._learn(key, _specialties(_read(found)))

    async def entry(self, group: str, agent: str) -> dict[str, Any]:
        """What the bucket says of an agent; nothing of one that is not known. Raises Unavailable."""
        return _read(await self._bucket.get(f"{group}.{agent}"))

    async def humans(self, group: str, agent: str) -> frozenset[str]:
        """Who looks after an agent, by the token with which it last came. Raises Unavailable."""
        return humans_of(await self.entry(group, agent))

    async def register(
        self, claims: Claims, intake: Intake | None, quality: Quality | None = None
    ) -> dict[str, Any] | None:
        """Record that an agent came, and what it said of itself; the entry if that is new.

        Raises Unavailable.
        """
        key = f"{claims.collaboration_group}.{claims.sub}"
        for _ in range(TRIES):
            found = await self._bucket.get(key)
            former = _read(found)
            entry = entry_after_arrival(former, claims, intake, rfc3339(datetime.now(UTC)), quality)
            if entry == former:
                break
            try:
                await self._put(key, entry, found)
            except Conflict:
                continue
            self._learn(key, _specialties(entry))
            return entry
        self._learn(key, _specialties(entry))
        return None

    async def _put(self, key: str, entry: dict[str, Any], found: Value | None) -> None:
        payload = pydantic_core.to_json(entry)
        if found is None:
            await self._bucket.create(key, payload)
        else:
            await self._bucket.update(key, payload, found.revision)

    def _heard(self, key: str, value: Value | None) -> None:
        if value is None:
            self._learn(key, frozenset())
            self._known.pop(key, None)
        else:
            self._learn(key, _specialties(_read(value)))

    def _learn(self, key: str, specialties: frozenset[str]) -> None:
        """An agent is known, with these specialties."""
        group, former = key.partition(".")[0], self._known.get(key, frozenset())
        self._known[key] = specialties
        for gone in former - specialties:
            having = self._skilled[f"{group}.{gone}"]
            having.discard(key)
            if not having:
                del self._skilled[f"{group}.{gone}"]
        for new in specialties - former:
            self._skilled.setdefault(f"{group}.{new}", set()).add(key)


def _specialties(entry: Mapping[str, Any]) -> frozenset[str]:
    return specialties_in(bounded(entry))


def _read(found: Value | None) -> dict[str, Any]:
    if found is None:
        return {}
    try:
        entry = pydantic_core.from_json(found.payload)
    except ValueError:
        log.warning("an entry of the directory cannot be read and is made anew")
        return {}
    return entry if isinstance(entry, dict) else {}
