"""Gaps: telling the user's callback, away from the task that reads."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable

from backchannel.client.notice import Gap

AT_ONCE = 16
_log = logging.getLogger("backchannel.client")


class GapWatch:
    """Calls `on_gap` for every gap in a task of its own; a callback that fails is logged."""

    def __init__(self, on_gap: Callable[[Gap], Awaitable[None] | None] | None) -> None:
        self._on_gap = on_gap
        self._calls: set[asyncio.Task[None]] = set()

    def __call__(self, gap: Gap) -> None:
        _log.warning("Events were missed between %s and %s: %s", gap.start, gap.to, gap.reason)
        if self._on_gap is None or len(self._calls) >= AT_ONCE:
            return
        call = asyncio.create_task(self._tell(self._on_gap, gap))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _tell(self, on_gap: Callable[[Gap], Awaitable[None] | None], gap: Gap) -> None:
        try:
            answer = on_gap(gap)
            if inspect.isawaitable(answer):
                await answer
        except Exception:
            _log.exception("The callback on_gap failed.")
