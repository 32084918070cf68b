"""Requests in flight: each waits for its answer, also across connections, until its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from backchannel.client.outcome import refused
from backchannel.errors import BackchannelError, Conflict, RateLimited, Unavailable
from backchannel.protocol.frame import ErrorFrame

IN_FLIGHT = 1024
PAUSE = 0.25
"""Seconds to wait after `rate_limited` if the bridge names none."""

Awaits = Literal["receipt", "result", "answer"]
"""What ends the wait: that it is stored, the result in the inbox, or the answer to a query."""

Frame = dict[str, Any]


@dataclass(eq=False, slots=True)
class Pending:
    """One request without its answer. `carrier` is the link it was last sent over."""

    message_id: str
    body: str
    awaits: Awaits
    answer: asyncio.Future[Frame]
    on_result: Callable[[Frame], None] | None = None
    carrier: object | None = None
    stored: bool = field(default=False)


class Requests:
    """The table of what is asked and not yet answered.

    Args:
        carry: sends a request over the current link, if there is one; what is lost is sent again by
            `unsent` after the next connection is made.
        on_open: called when a request begins to wait.
    """

    def __init__(self, carry: Callable[[Pending], Awaitable[None]], on_open: Callable[[], None]) -> None:
        self._carry = carry
        self._on_open = on_open
        self._table: dict[str, Pending] = {}
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._ended: BackchannelError | None = None

    @property
    def waiting(self) -> bool:
        return bool(self._table)

    async def call(
        self,
        message_id: str,
        body: str,
        *,
        awaits: Awaits,
        timeout: float,
        on_result: Callable[[Frame], None] | None = None,
    ) -> Frame:
        """Send `body` and return the frame that answers it. One that says when to try again is no answer.

        Args:
            timeout: seconds until it is given up.
            on_result: sees the result before anything that came after it is looked at.

        Raises:
            Unavailable: no answer in time; whether it was stored is not known.
            BackchannelError: the platform refused it, or the connection has ended for good.
        """
        try:
            async with asyncio.timeout(timeout), self._slots:
                while True:
                    try:
                        return await self._once(message_id, body, awaits, on_result)
                    except BackchannelError as trouble:
                        await _pause(trouble)
        except TimeoutError:
            raise Unavailable(
                f"The platform has not answered within {timeout:g} seconds. It may have stored the message;"
                " sending it again with the same message_id cannot store it twice."
            ) from None

    async def _once(
        self, message_id: str, body: str, awaits: Awaits, on_result: Callable[[Frame], None] | None
    ) -> Frame:
        if self._ended is not None:
            raise self._ended
        if message_id in self._table:
            raise Conflict(f"The message {message_id} is being sent already; wait for its answer.")
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        pending = self._table[message_id] = Pending(message_id, body, awaits, answer, on_result)
        self._on_open()
        try:
            await self._carry(pending)
            return await answer
        finally:
            del self._table[message_id]

    def unsent(self, carrier: object) -> list[Pending]:
        """Those that have to be sent over this link, oldest first."""
        return [p for p in self._table.values() if p.carrier is not carrier and not p.stored]

    def received(self, message_id: str, frame: Frame) -> None:
        """The platform has stored a message, now or before."""
        pending = self._table.get(message_id)
        if pending is None:
            return
        pending.stored = True
        if pending.awaits == "receipt" and not pending.answer.done():
            pending.answer.set_result(frame)

    def refused(self, message_id: str, error: ErrorFrame) -> None:
        """The platform has refused a message at the door."""
        pending = self._table.get(message_id)
        if pending is not None and not pending.answer.done():
            pending.answer.set_exception(refused(error))

    def decided(self, frame: Frame) -> bool:
        """The result of a command has come; whether somebody waits for it."""
        pending = self._table.get(str(frame.get("in_reply_to")))
        if pending is None or pending.awaits != "result" or pending.answer.done():
            return False
        if pending.on_result is not None:
            pending.on_result(frame)
        pending.answer.set_result(frame)
        return True

    def answered(self, frame: Frame) -> bool:
        """An answer may have come; whether it is that of a query."""
        pending = self._table.get(str(frame.get("in_reply_to")))
        if pending is None or pending.awaits != "answer":
            return False
        if not pending.answer.done():
            pending.answer.set_result(frame)
        return True

    def end(self, error: BackchannelError) -> None:
        """No answer will come any more."""
        self._ended = error
        for pending in self._table.values():
            if not pending.answer.done():
                pending.answer.set_exception(error)


async def _pause(trouble: BackchannelError) -> None:
    """Wait until the platform wants to be asked again. Raises `trouble` if it does not say so."""
    if isinstance(trouble, RateLimited) and trouble.retry_after is None:
        await asyncio.sleep(PAUSE)
    elif trouble.retryable and trouble.retry_after is not None:
        await asyncio.sleep(trouble.retry_after)
    else:
        raise trouble
