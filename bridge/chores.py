"""Chores: what a process does by itself, again and again or once, without anybody waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from backchannel.errors import BackchannelError

log = structlog.get_logger("bridge.chores")
RETRY = 0.5


class Chores:
    """Tasks of which none can end another, or go on after the end."""

    def __init__(self) -> None:
        self._sweeps: set[asyncio.Task[None]] = set()
        self._errands: set[asyncio.Task[None]] = set()

    @property
    def errands(self) -> int:
        """How many are under way; one for each connection that has just gone, not more."""
        return len(self._errands)

    def every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        _keep(self._sweeps, _again_and_again(seconds, work))

    def errand(self, work: Coroutine[Any, Any, None]) -> None:
        _keep(self._errands, _logged(work))

    async def close(self, patience: float) -> None:
        """Stop the sweeps at once; errands may still take `patience` seconds together."""
        await _end(self._sweeps)
        if self._errands:
            await asyncio.wait(self._errands, timeout=patience)
        await _end(self._errands)


async def until_done(what: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do it, again and again while the log is not there yet."""
    while True:
        try:
            await work()
        except BackchannelError as problem:
            log.warning("not yet", what=what, problem=problem.message)
            await asyncio.sleep(RETRY)
        else:
            return


async def _again_and_again(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await _logged(work())
        await asyncio.sleep(seconds)


async def _logged(work: Awaitable[None]) -> None:
    """Whatever goes wrong is told, and ends nothing else."""
    try:
        await work
    except BackchannelError as problem:
        log.warning("something was put off", problem=problem.message)
    except Exception:
        log.exception("something went wrong")


def _keep(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    ending = tuple(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)
