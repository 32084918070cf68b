"""Several messages stored all or none: atomic batches, repeated until it is known what came of them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import pydantic_core

from backchannel.errors import BackchannelError, Conflict, Internal, TooLarge, Unavailable
from backchannel.jetstream.answer import AGAIN, APPLIED, IN_FLIGHT, STALE, failed, number_of
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.entry import Entry, Stored
from backchannel.jetstream.head import write_head
from backchannel.jetstream.read import find_id

AT_ONCE = 16
"""The server allows 50 atomic batches under way on one stream; other processes want some of them."""
MOST = 1000
ANSWER = 5.0
PAUSE = 0.05
IN_FLIGHT_WAIT = 2.0
"""Seconds in which it must be clear who else is writing behind a fence."""

NOWHERE: Mapping[str, int] = {}


class Batches:
    """Atomic batches over one connection, a bounded number at a time."""

    def __init__(self, connection: Connection, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._room = asyncio.Semaphore(AT_ONCE)

    async def commit(self, entries: Sequence[Entry], reached: Mapping[str, int] = NOWHERE) -> Stored:
        """Store all or none; the place of the last one.

        Args:
            reached: positions that streams had reached by now; what lies there or earlier was there before.

        Raises:
            Conflict: an expectation in the headers does not hold.
            TooLarge: more than a thousand messages.
            Unavailable: it is not known to be stored within the deadline; repeat it with the same ids.
        """
        if len(entries) > MOST:
            raise TooLarge(f"{len(entries)} messages cannot be stored as one; {MOST} at most can.")
        async with self._room:
            return await self._until_known(entries, reached)

    async def once(self, entries: Sequence[Entry]) -> bool:
        """One try; whether it is known to be stored by it."""
        async with self._room:
            return isinstance(await attempt(self._connection, entries, ANSWER), Stored)

    async def _until_known(self, entries: Sequence[Entry], reached: Mapping[str, int]) -> Stored:
        clock = asyncio.get_running_loop().time
        end, retried = clock() + self._deadline, False
        patience = clock() + IN_FLIGHT_WAIT
        while True:
            outcome = await attempt(self._connection, entries, max(min(ANSWER, end - clock()), 0.1))
            match outcome:
                case Stored():
                    return outcome
                case int() if outcome == APPLIED:
                    return await self._found(entries, reached, not retried) or Stored(
                        0, not retried, "", found=True
                    )
                case int() if outcome == STALE or (outcome == IN_FLIGHT and clock() > patience):
                    if (stored := await self._found(entries, reached, not retried)) is not None:
                        return stored
                    raise Conflict("Somebody else wrote there first: read again, then decide again.")
                case BackchannelError() if not isinstance(outcome, Unavailable):
                    raise outcome
            if clock() >= end:
                raise Unavailable("The log did not confirm the batch in time; repeat it.", retry_after=1.0)
            retried = True
            await asyncio.sleep(PAUSE)

    async def _found(
        self, entries: Sequence[Entry], reached: Mapping[str, int], duplicate: bool
    ) -> Stored | None:
        """Where the last entry lies, if it is stored already; else any other that is."""
        for entry in reversed(entries):
            if entry.message_id is None:
                continue
            place = await find_id(self._connection, entry.subject, entry.message_id)
            if place is not None:
                stream, sequence = place
                earlier = duplicate or sequence <= reached.get(stream, 0)
                return Stored(sequence, earlier, stream, found=True)
        return None


async def attempt(
    connection: Connection, entries: Sequence[Entry], wait: float
) -> Stored | int | BackchannelError:
    """One try to store one entry, or several all or none: where the last lies, a number, or the fault."""
    *before, final = entries
    batch = secrets.token_hex(12)
    part = {**_part(batch, len(entries)), "Nats-Batch-Commit": "1"} if before else {}
    try:
        await connection.wait_up(wait)
        for place, entry in enumerate(before, start=1):
            head = write_head({**entry.headers, **_part(batch, place)})
            connection.emit(entry.subject, entry.payload, head)
        reply = await connection.request(
            final.subject, final.payload, headers={**final.headers, **part}, timeout=wait
        )
        return _outcome(pydantic_core.from_json(reply.payload))
    except BackchannelError as error:
        return error


def _part(batch: str, place: int) -> dict[str, str]:
    return {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(place)}


def _outcome(answer: dict[str, Any]) -> Stored | int | BackchannelError:
    error = answer.get("error")
    if error is None:
        if "seq" not in answer:
            return Internal("JetStream gave an answer to a publish that is none.")
        return Stored(int(answer["seq"]), bool(answer.get("duplicate")), str(answer["stream"]))
    number = number_of(error)
    known = number in (*AGAIN, APPLIED, STALE, IN_FLIGHT)
    return number if known else failed(error)
