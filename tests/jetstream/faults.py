"""Faults done to a real server, and waiting for what must follow."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from backchannel.jetstream.embedded import Server
from backchannel.jetstream.entry import MSG_ID, Entry
from backchannel.jetstream.keeper import Timings

PATIENCE = 60.0
QUICK = Timings(pulse=0.2, patience=1.0, connect=2.0, retry=0.05)
"""Quick to notice, and not so quick that a busy machine is taken for a dead server."""
STREAM = "BC_EVENTS_main"


@contextlib.contextmanager
def frozen(server: Server) -> Iterator[None]:
    """The server is there, takes connections and bytes, and does nothing."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    while not _is_stopped(server.pid):  # the signal takes a moment to reach every thread
        time.sleep(0.001)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def _is_stopped(process: int) -> bool:
    stats = [task / "stat" for task in Path(f"/proc/{process}/task").glob("*")]
    try:
        return all(stat.read_text("utf-8").rpartition(")")[2].split()[0] == "T" for stat in stats)
    except OSError:  # a thread has just ended
        return False


def started(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    """A process whose output can be read; leave it with `with`."""
    return subprocess.Popen(argv, stdout=subprocess.PIPE)


def program_of(process: int) -> str:
    """The name of the program a process runs; empty when there is no such process any more."""
    try:
        state = Path(f"/proc/{process}/stat").read_text("utf-8")
    except FileNotFoundError:
        return ""
    name, _, rest = state.partition("(")[2].rpartition(")")
    return "" if rest.split()[0] == "Z" else name


async def crash(server: Server) -> None:
    """kill -9, and start it again on the same port and store."""
    server.kill()
    await server.wait()
    await server.start()


async def eventually(holds: Callable[[], object], within: float = PATIENCE) -> None:
    """For what announces itself to nobody."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def said(number: int, sender: str = "alice", text: bytes = b"{}") -> Entry:
    """The number-th thing somebody says to everyone."""
    return Entry("bc.main.evt.all.normal.broadcast", text, {MSG_ID: f"{sender}:{number}"})


def lived(sidebar: str, number: int, lane: str = "normal") -> Entry:
    """The number-th event in the life of a sidebar."""
    subject = f"bc.main.evt.ctx.{sidebar}.{lane}.life"
    return Entry(subject, b"%d" % number, {MSG_ID: f"{sidebar}:{number}"})
