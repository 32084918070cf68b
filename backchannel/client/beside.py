"""Tasks beside a task: they live as long as a block, and none fails unheard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from backchannel.client.link import LinkLost

_log = logging.getLogger("backchannel.client")


@asynccontextmanager
async def beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` while the block runs. A lost link ends it quietly: the block's own reading sees it too."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception) and not isinstance(ended, LinkLost):
                _log.error("A task beside the connection failed.", exc_info=ended)
