"""The audit trail, as whoever acts writes to it: before an intent is acted on, and about what happened."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from backchannel.domain.audit import Deed
from backchannel.domain.audit.redaction import Policy
from backchannel.domain.canonical import canonical
from backchannel.errors import Unavailable
from backchannel.jetstream.connection import Connection
from backchannel.protocol.identifier import is_identifier
from backchannel.protocol.message import rfc3339
from backchannel.service.chain import Chain, Waiting, Written

__all__ = ["Deed", "Trail", "Written"]

PATIENCE = 15.0
"""Seconds after which an intent that could not be written is refused."""
MOST_WAITING = 10_000
LATE = "The audit trail did not take the record in time, so what it was about must not be done; try again."
NOBODY = "unknown"
"""The entity of a record about somebody whose name is not known, or is no identifier."""


class Trail:
    """One process's way into the trail. Never blocks anybody but those who wait for their own record.

    Args:
        source: which process writes; it stands in each record.
        pepper: the key of the digests that take the place of secrets.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        source: str,
        pepper: bytes = b"",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        patience: float = PATIENCE,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._connection = connection
        self._source = source
        self._policy = Policy(pepper)
        self._clock = clock
        self._patience = patience
        self._most = most_waiting
        self._chains: dict[str, Chain] = {}
        self._dropped: Counter[str] = Counter()
        self._loop = asyncio.get_running_loop()

    async def write(self, deed: Deed) -> Written:
        """Keep a record; returns when the primary copy has it.

        Raises:
            Unavailable: it is not known to be kept, so what it announces must not be done.
        """
        if self._waiting() >= 2 * self._most:
            raise Unavailable("Too much waits for the audit trail; try again.", retry_after=1.0)
        done: asyncio.Future[Written] = self._loop.create_future()
        self._chain(deed.group).put(self._prepared(deed, done))
        try:
            async with asyncio.timeout(self._patience):
                return await done
        except TimeoutError:
            raise Unavailable(LATE, retry_after=1.0) from None

    def note(self, deed: Deed) -> None:
        """Keep a record about what has happened anyway; it waits through outages, within bounds.

        What is beyond the bounds is counted, and the count is a record itself.
        """
        if self._waiting() >= self._most:
            self._dropped[deed.group] += 1
            return
        if missed := self._dropped.pop(deed.group, 0):
            lost = Deed(deed.group, "platform", self._source, "records_dropped", {"count": missed})
            self._chain(deed.group).put(self._prepared(lost, None))
        self._chain(deed.group).put(self._prepared(deed, None))

    def facts(self) -> dict[str, Any]:
        """How it stands with this process's records."""
        chains = self._chains.values()
        return {
            "waiting": self._waiting(),
            "written": sum(chain.written for chain in chains),
            "conflicts": sum(chain.conflicts for chain in chains),
            "refused": sum(chain.refused for chain in chains),
            "dropped": self._dropped.total(),
            "failing": next((chain.failing for chain in chains if chain.failing), None),
        }

    def failing(self, group: str) -> str | None:
        """Why records of a group wait; None while they do not."""
        return self._chains[group].failing if group in self._chains else None

    async def settled(self, patience: float) -> bool:
        """Wait until all that was handed in is kept; whether it is."""
        try:
            async with asyncio.timeout(patience):
                await asyncio.gather(*(chain.settled() for chain in self._chains.values()))
        except TimeoutError:
            return False
        return not self._waiting()

    async def close(self, patience: float = 2.0) -> None:
        """Keep what can be kept within `patience` seconds, and stop."""
        for group in tuple(self._dropped):
            missed = self._dropped.pop(group)
            self.note(Deed(group, "platform", self._source, "records_dropped", {"count": missed}))
        await self.settled(patience)
        for chain in self._chains.values():
            await chain.close()

    def _waiting(self) -> int:
        return sum(map(len, self._chains.values()))

    def _chain(self, group: str) -> Chain:
        if group not in self._chains:
            self._chains[group] = Chain(self._connection, group)
        return self._chains[group]

    def _prepared(self, deed: Deed, done: asyncio.Future[Written] | None) -> Waiting:
        known = is_identifier(deed.entity)
        told = deed.facts if known else {**deed.facts, "said_entity": deed.entity[:256]}
        facts = self._policy.applied(told)
        identity = deed.id or secrets.token_hex(16)
        fields = {
            "group": deed.group,
            "at": rfc3339(self._clock()),
            "id": identity,
            "category": deed.category,
            "entity": deed.entity if known else NOBODY,
            "action": deed.action,
            "phase": deed.phase,
            "of": deed.of,
            "facts": facts,
            "source": self._source,
        }
        subject = f"bc.{deed.group}.audit.{deed.category}.{fields['entity']}"
        return Waiting(identity, subject, fields, deed.seal, len(canonical(fields)), done)
