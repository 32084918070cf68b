"""The seats of all agents, in BC_seats: taken and left by compare-and-set, and followed by every bridge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pydantic_core
import structlog

from backchannel.delivery.seats import Seat
from backchannel.errors import BackchannelError, Conflict
from backchannel.jetstream.bucket import Bucket, Value
from backchannel.jetstream.tail import Tail

log = structlog.get_logger("bridge.seats")
TRIES = 5
EMPTY_FOR = 60
"""Seconds after which it is forgotten that nobody is there."""

OnSeats = Callable[[str, str, tuple[Seat, ...], int], None]
"""Told group, agent, who has a seat now, and the revision that says so."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The seats of one agent at a revision (0: nothing was said of it)."""

    seats: tuple[Seat, ...] = ()
    revision: int = 0

    def without(self, connection: str) -> tuple[Seat, ...]:
        return tuple(seat for seat in self.seats if seat.connection != connection)


class Seats:
    """No lease is renewed here: whoever wants a seat asks the bridge of its holder.

    A bridge that does not answer has lost it.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._tail: Tail | None = None

    async def open(self, on_seats: OnSeats) -> None:
        """Hear of every change. Raises Unavailable."""

        def heard(key: str, value: Value | None) -> None:
            group, _, agent = key.partition(".")
            if value is not None:
                on_seats(group, agent, _read(value).seats, value.revision)

        self._tail = await self._bucket.watch(">", heard)

    async def close(self) -> None:
        if self._tail is not None:
            await self._tail.stop()

    async def look(self, group: str, agent: str) -> Taken:
        """Raises Unavailable."""
        found = await self._bucket.get(f"{group}.{agent}")
        return Taken() if found is None else _read(found)

    async def take(self, group: str, agent: str, seats: Sequence[Seat], before: Taken) -> Taken:
        """Let these have the seats.

        Raises:
            Conflict: somebody came or went since `before`.
            Unavailable: it is not known whether it was written.
        """
        payload = pydantic_core.to_json([asdict(seat) for seat in seats])
        lapse = None if seats else EMPTY_FOR
        revision = await self._bucket.update(f"{group}.{agent}", payload, before.revision, ttl=lapse)
        return Taken(tuple(seats), revision)

    async def leave(self, group: str, agent: str, connection: str, known: Taken) -> None:
        """Give a seat back. If that cannot be said now, nobody answers for it when somebody asks."""
        try:
            for _ in range(TRIES):
                if all(seat.connection != connection for seat in known.seats):
                    return
                try:
                    await self.take(group, agent, known.without(connection), known)
                except Conflict:
                    known = await self.look(group, agent)
                else:
                    return
        except BackchannelError as problem:
            log.info("a seat was not given back", problem=str(problem))


def _read(value: Value) -> Taken:
    """What cannot be read is nobody's seat."""
    try:
        said: list[dict[str, Any]] = pydantic_core.from_json(value.payload)
        seats = tuple(
            Seat(
                str(one["connection"]),
                str(one["bridge"]),
                bool(one["active"]),
                str(one["purpose"]),
                str(one.get("shown", "")),
            )
            for one in said
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        log.warning("seats cannot be read", revision=value.revision)
        seats = ()
    return Taken(seats, value.revision)
