"""Key-value buckets (ADR-8) by plain JetStream: compare-and-set, leases that lapse, watching."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from backchannel.errors import Conflict
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.publish import EXPECTED, MSG_ID, Entry, Publisher
from backchannel.jetstream.read import Record, last, page
from backchannel.jetstream.tail import Tail


@dataclass(frozen=True, slots=True)
class Value:
    """What lies under a key, and the revision that a change of it must name."""

    payload: bytes
    revision: int


OnValue = Callable[[str, Value | None], None]


class Bucket:
    """One bucket. Keys are subject tokens joined by dots.

    A key that was deleted or whose lease has lapsed is absent; what is left of it is a marker whose sequence
    the next `create` must name, which this class does by itself.
    """

    def __init__(self, connection: Connection, name: str, publisher: Publisher | None = None) -> None:
        self._connection = connection
        self._stream = f"KV_{name}"
        self._prefix = f"$KV.{name}."
        self._publisher = publisher

    def _posting(self) -> Publisher:
        if self._publisher is None:
            self._publisher = Publisher(self._connection)
        return self._publisher

    async def get(self, key: str) -> Value | None:
        """
        Raises:
            Unavailable: no answer.
        """
        record = await last(self._connection, self._stream, self._prefix + key)
        return None if record is None else value_in(record)

    async def newest(self, filter: str) -> Value | None:
        """What the leader says was written last under the keys a filter matches; None if that is gone."""
        record = await last(self._connection, self._stream, self._prefix + filter)
        return None if record is None else value_in(record)

    async def put(self, key: str, payload: bytes, *, ttl: float | None = None) -> int:
        """Write, whatever was there; the new revision. `ttl` in whole seconds, from 1."""
        return await self._write(key, payload, None, ttl)

    async def create(self, key: str, payload: bytes, *, ttl: float | None = None) -> int:
        """Write where nothing is.

        Raises:
            Conflict: something is there.
        """
        record = await last(self._connection, self._stream, self._prefix + key)
        if record is not None and value_in(record) is not None:
            raise Conflict(f"The key {key} is taken.")
        return await self._write(key, payload, record.sequence if record else 0, ttl)

    async def update(self, key: str, payload: bytes, revision: int, *, ttl: float | None = None) -> int:
        """Write if the key still has this revision.

        Raises:
            Conflict: somebody has written or deleted it since.
        """
        return await self._write(key, payload, revision, ttl)

    async def delete(self, key: str) -> None:
        """Leave nothing but a marker that lapses by itself."""
        headers = {"KV-Operation": "PURGE", "Nats-Rollup": "sub", "Nats-TTL": "60"}
        await self._store(key, b"", headers)

    async def entries(self, filter: str = ">") -> list[tuple[str, Value]]:
        """Every key that a filter matches, with what lies there, in order of writing."""
        found: dict[str, Value] = {}
        position, done = 0, False
        while not done:
            part = await page(
                self._connection, self._stream, position, limit=1000, filter=self._prefix + filter
            )
            for record in part.records:
                key = record.subject.removeprefix(self._prefix)
                found.pop(key, None)
                if (value := value_in(record)) is not None:
                    found[key] = value
            position, done = part.last_sequence_scanned, part.done
        return list(found.items())

    async def watch(self, filter: str, on_value: OnValue) -> Tail:
        """Hand over every value there is, and then every change; None when a key goes. Stop the tail to end.

        Returns when what was there has been handed over.
        """
        tail = Tail(
            self._connection,
            self._stream,
            after=0,
            on_record=lambda record: on_value(record.subject.removeprefix(self._prefix), value_in(record)),
            filters=(self._prefix + filter,),
        )
        await tail.start()
        await self.reached(tail, filter, 30.0)
        return tail

    async def reached(self, tail: Tail, filter: str = ">", timeout: float = 5.0) -> None:
        """Wait until a watch has handed over all that the leader has by now. Raises Unavailable."""
        newest = await last(self._connection, self._stream, self._prefix + filter)
        if newest is not None:
            await tail.reached(newest.sequence, timeout)

    async def _write(self, key: str, payload: bytes, expected: int | None, ttl: float | None) -> int:
        headers: dict[str, str] = {}
        if expected is not None:
            headers[EXPECTED] = str(expected)
        if ttl is not None:
            headers["Nats-TTL"] = str(max(int(ttl), 1))
        return await self._store(key, payload, headers)

    async def _store(self, key: str, payload: bytes, headers: Mapping[str, Any]) -> int:
        # An id of its own, so that a write whose answer was lost is not taken for somebody else's.
        identified = {MSG_ID: secrets.token_hex(12), **headers}
        stored = await self._posting().store(Entry(self._prefix + key, payload, identified))
        return stored.sequence


def value_in(record: Record) -> Value | None:
    """None for what is only the marker of a deletion or of a lapse."""
    headers = record.headers or {}
    if "Nats-Marker-Reason" in headers or headers.get("KV-Operation") in ("DEL", "PURGE"):
        return None
    return Value(record.payload, record.sequence)
