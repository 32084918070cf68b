"""How `up` is told to stop: by a signal in order, by a second one at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def signals(stop: asyncio.Event, kill: Callable[[], None]) -> Iterator[None]:
    """The first signal asks for an orderly stop, the second for an immediate one."""
    loop = asyncio.get_running_loop()

    def arrived() -> None:
        if stop.is_set():
            kill()
        stop.set()

    # Who started it with nohup wants it to outlive the terminal.
    wanted = [number for number in SIGNALS if number != signal.SIGHUP or not _ignored(number)]
    for number in wanted:
        loop.add_signal_handler(number, arrived)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted)  # also one that came while all was loaded
    try:
        yield
    finally:
        for number in wanted:
            loop.remove_signal_handler(number)


def _ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work, but drop it as soon as `stop` is set; whether it was done."""
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not task.done():
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
        return True
    return False
