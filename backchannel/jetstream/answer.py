"""What JetStream's API answers: its errors by number, and what they mean to us."""

from __future__ import annotations

import asyncio
from typing import Any

import pydantic_core

from backchannel.errors import BackchannelError, Conflict, Internal, NotFound, TooLarge, Unavailable
from backchannel.jetstream.connection import Connection

STALE = 10071
"""The expected last sequence was another one."""
IN_FLIGHT = 10164
"""Something is being written behind the fence: perhaps by somebody else, perhaps an earlier try of ours."""
APPLIED = 10201
"""A message of the batch is in the stream already: the batch was applied before."""
AGAIN = frozenset({10158, 10176})
"""Come again: the same id is in process, the batch is incomplete or too many are under way."""
LONG = 10199
"""The batch has more than a thousand messages."""
LARGE = 10054
"""The message is larger than the stream takes."""
NO_STREAM = 10059
NO_ROOM = frozenset({10023, 10047, 10077, 10122})
"""The store, or what an account may use of it, is full."""
TRY = 2.0
"""Seconds after which a question is asked anew: its leader may have died with it."""
PAUSE = 0.1
MISSING = frozenset({10014, 10037, 10059})
"""No such consumer, message or stream."""


class NoStream(NotFound):
    """The stream itself is missing: nobody has provisioned it, or it was deleted."""


class NoRoom(Unavailable):
    """The store, or what a stream or account may have of it, is full."""


def failed(error: dict[str, Any]) -> BackchannelError:
    """The error object of an API answer, as ours."""
    number = int(error.get("err_code", 0))
    said = f"JetStream refused it ({number}): {error.get('description', 'no reason given')}."
    if number in (STALE, IN_FLIGHT):
        return Conflict(said)
    if number in MISSING:
        return NoStream(said) if number == NO_STREAM else NotFound(said)
    if number in NO_ROOM:
        return NoRoom(f"The log has no room left ({number}): make room on the disk of its server.")
    if number == LONG:
        return TooLarge("More than a thousand messages cannot be stored as one; split them.")
    if number == LARGE:
        return TooLarge("The message is larger than the log takes.")
    if number in AGAIN or int(error.get("code", 0)) in (408, 503):
        return Unavailable(said)
    return Internal(said)


def number_of(error: dict[str, Any] | None) -> int:
    return int(error.get("err_code", 0)) if error else 0


async def api(
    connection: Connection, endpoint: str, body: Any = None, *, timeout: float = 5.0
) -> dict[str, Any]:
    """Ask `$JS.API.<endpoint>`, again and again within `timeout` seconds while nobody can answer.

    Raises:
        NotFound: there is no such stream, consumer or message.
        Unavailable: no answer, or no room (NoRoom); ask again.
        Internal: JetStream refused.
    """
    payload = b"" if body is None else pydantic_core.to_json(body)
    clock = asyncio.get_running_loop().time
    end = clock() + timeout
    while True:
        try:
            return await _once(connection, endpoint, payload, min(TRY, end - clock()))
        except NoRoom:
            raise
        except Unavailable:
            if clock() + PAUSE >= end:
                raise
        await asyncio.sleep(PAUSE)


async def _once(connection: Connection, endpoint: str, payload: bytes, wait: float) -> dict[str, Any]:
    reply = await connection.request(f"$JS.API.{endpoint}", payload, timeout=wait)
    answer: dict[str, Any] = pydantic_core.from_json(reply.payload)
    if "error" in answer:
        raise failed(answer["error"])
    return answer
