"""Replies: every request is answered, each in a task of its own, and none of them fails unheard."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pydantic_core

from backchannel.errors import BackchannelError, Internal
from backchannel.jetstream.connection import Arrived, Connection
from backchannel.logger import Logger

log = Logger(__name__)


class Replies:
    """Requests of one kind that are being answered.

    Args:
        kind: what the platform's log calls them.
        answer: gives the answer as it is sent; what it raises is told as a refusal.
    """

    def __init__(
        self, connection: Connection, kind: str, answer: Callable[[Arrived], Awaitable[bytes]]
    ) -> None:
        self._connection = connection
        self._kind = kind
        self._answer = answer
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def begin(self, request: Arrived) -> None:
        """Answer it, if its asker wants to hear the answer."""
        if not request.reply:
            return
        task = asyncio.get_running_loop().create_task(self._reply(request))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _reply(self, request: Arrived) -> None:
        try:
            answer = await self._answer(request)
        except BackchannelError as error:
            answer = said(error)
        except Exception:
            log.exception(f"{self._kind}_failed", subject=request.subject)
            answer = said(Internal("The request failed for a reason that is in the platform's log."))
        try:
            await self._connection.send(request.reply, answer)
        except BackchannelError as error:
            log.warning(f"{self._kind}_reply_lost", subject=request.subject, error=error.message)


def said(error: BackchannelError) -> bytes:
    """The refusal of a request, as its asker reads it."""
    denied = error.code == "forbidden"
    return pydantic_core.to_json(
        {
            "status": "denied" if denied else "failed",
            "code": error.code,
            "message": error.message,
            "field": error.field,
            "retryable": error.retryable,
            "retry_after": error.retry_after,
        }
    )
