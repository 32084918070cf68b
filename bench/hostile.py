"""One hostile agent beside twenty honest ones: what the honest notice of it.

    python -m bench.hostile [--attacks all] [--seconds 20] [--honest 20] [--rate 10] [--two]

For each attack a platform of its own with its standard settings. Twenty agents write to main, each so many
times a second, and hear each other; meanwhile the hostile one does its worst as fast as it can
(`bench/attacks.py`). Columns:

- sent … cut: messages of the honest; how many were accepted, refused, never answered; connections that ended
- p50, p99, max: milliseconds from the moment at which a message was due to its `accepted`
- asked: one of them also asks `status` five times a second: p99 of the answers in ms, and how many failed
- native: one more speaks NATS and publishes five times a second: p99 of being stored in ms, and failures
- nats, data, logs: megabytes of nats-server at its largest; how much the data folder and its logs grew
- slow: how often nats-server cut anybody as a slow consumer
- attack …: messages and megabytes the hostile agent sent, how often it was let in, and turned away

The rows `nobody` and `busy` (a process that only spins) are there to compare with: all share the same cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from array import array
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nats.errors
from nats.js.errors import Error as JetStreamError

from backchannel.client import Agent
from backchannel.errors import BackchannelError
from bench.attacks import NATIVE, WEBSOCKET
from bench.listeners import Listener
from bench.table import percentile
from tests.build import content
from tests.promises.native import Native
from tests.promises.running import Platform

ACCEPTED, ERROR = b'{"type":"accepted"', b'{"type":"error"'
STEADY = 5
"""Questions, and native messages, a second."""
LAST_ANSWERS = 10.0
"""Seconds after the end in which an answer still counts."""
COLUMNS = (
    *("sent", "accepted", "refused", "unanswered", "cut", "p50", "p99", "max"),
    *("asked p99", "asked failed", "native p99", "native failed"),
    *("nats MB", "data MB", "logs MB", "slow", "attack msgs", "attack MB", "let in", "turned away"),
)


class Honest(Listener):
    """Writes at a steady rate, and notes how long each message took to be accepted."""

    def __init__(self, host: str, token: str) -> None:
        super().__init__(host, token, sys.maxsize, array("d"))
        self.pending: dict[bytes, float] = {}
        self.took = array("d")
        self.sent = self.refused = self.cut = 0
        self.problems: set[str] = set()
        self._idle = asyncio.Event()

    def _take(self, opcode: int, body: bytes, now: int) -> None:
        if opcode == 1 and body.startswith((ACCEPTED, ERROR)):
            told = json.loads(body)
            due = self.pending.pop(str(told["in_reply_to"]).encode(), None)
            if told["type"] == "error":
                self.refused += 1
                self.problems.add(str(told["code"]))
            elif due is not None:
                self.took.append((time.monotonic() - due) * 1000)
            if not self.pending:
                self._idle.set()
        super()._take(opcode, body, now)

    def connection_lost(self, problem: Exception | None) -> None:
        self.cut += 1
        self._idle.set()
        for future in (self.live, self.done):
            if not future.done():
                future.cancel()

    async def write(self, rate: float, until: float, first: float) -> None:
        due = first
        while due < until and not self.cut:
            await asyncio.sleep(max(due - time.monotonic(), 0))
            message = content("memory_update", context_id="main", exchange={"content": "all is well " * 8})
            self.pending[message["message_id"].encode()] = due
            self._idle.clear()
            body = json.dumps(message).encode()
            self._transport.write(b"\x81\xfe" + len(body).to_bytes(2) + bytes(4) + body)
            self.sent += 1
            due += 1 / rate

    async def answered(self, longest: float) -> None:
        """Wait until nothing is unanswered any more, or for so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(longest):
                await self._idle.wait()


class Steady:
    """Does something again and again at a steady rate, whatever became of it before."""

    def __init__(self, do: Callable[[], Awaitable[object]]) -> None:
        self._do = do
        self.took = array("d")
        self.failed = 0

    async def run(self, until: float) -> None:
        async with asyncio.TaskGroup() as group:
            due = time.monotonic()
            while due < until:
                await asyncio.sleep(max(due - time.monotonic(), 0))
                group.create_task(self._once(due))
                due += 1 / STEADY

    async def _once(self, due: float) -> None:
        try:
            async with asyncio.timeout(LAST_ANSWERS):
                await self._do()
        except (TimeoutError, BackchannelError, nats.errors.Error, JetStreamError):
            self.failed += 1
        else:
            self.took.append((time.monotonic() - due) * 1000)

    @property
    def p99(self) -> float:
        return percentile(self.took, 0.99) if self.took else float("inf")


def memory_of(pid: int) -> float:
    """Resident megabytes, now."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * 4096 / 1e6


def size_of(folder: Path) -> float:
    """Megabytes of files; of what goes while it is looked at, nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(place, name)).st_size
    return total / 1e6


async def largest(pids: list[int], until: float) -> float:
    most = 0.0
    while time.monotonic() < until:
        most = max(most, *(memory_of(pid) for pid in pids))
        await asyncio.sleep(0.25)
    return most


async def attackers(platform: Platform, name: str, seconds: float, number: int) -> list[dict[str, Any]]:
    async def one() -> dict[str, Any]:
        child = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "bench.attacks",
                name,
                platform.ws,
                platform.nats,
                "mallory",
                str(seconds),
            ),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await child.communicate(platform.signed("mallory").encode() + b"\n")
        found: dict[str, Any] = json.loads(out)
        return found

    return await asyncio.gather(*(one() for _ in range(number)))


async def measured(name: str, wanted: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        platform = await Platform(Path(folder) / "platform").start()
        try:
            return await beside(platform, name, wanted)
        finally:
            await platform.stop()


async def beside(platform: Platform, name: str, wanted: argparse.Namespace) -> dict[str, float]:
    place, loop = urlsplit(platform.ws), asyncio.get_running_loop()
    everybody: list[Honest] = []
    for number in range(wanted.honest):
        token = platform.signed(f"honest-{number}")
        _, one = await loop.create_connection(
            lambda token=token: Honest(str(place.hostname), token), place.hostname, place.port
        )
        await one.live
        everybody.append(one)
    asking = await Agent.connect("asking", data=platform.data)
    native = await Native.enter(platform.nats, "native", platform.signed("native"))
    asked = Steady(lambda: asking.ask("status"))
    published = Steady(lambda: native.say("memory_update", context_id="main", exchange={"content": "well"}))
    data, logs = size_of(platform.data), size_of(platform.data / "logs")
    began = time.monotonic() + 1
    until = began + wanted.seconds
    pids = platform.children("nats-server")
    writing = [
        one.write(wanted.rate, until, began + number / wanted.rate / wanted.honest)
        for number, one in enumerate(everybody)
    ]
    told, memory, *_ = await asyncio.gather(
        attackers(platform, name, wanted.seconds, 2 if wanted.two else 1),
        largest(pids, until),
        asked.run(until),
        published.run(until),
        *writing,
    )
    await asyncio.gather(*(one.answered(LAST_ANSWERS) for one in everybody))
    took = [each for one in everybody for each in one.took] or [float("inf")]
    problems = {code for one in everybody for code in one.problems}
    if problems:
        print(f"{name}: the honest were refused with {sorted(problems)}", file=sys.stderr)
    print(f"{name}: {told}", file=sys.stderr)
    await asking.close()
    await native.close()
    log = "".join(path.read_text(errors="replace") for path in (platform.data / "logs").glob("nats-server*"))
    return {
        "sent": sum(one.sent for one in everybody),
        "accepted": sum(len(one.took) for one in everybody),
        "refused": sum(one.refused for one in everybody),
        "unanswered": sum(len(one.pending) for one in everybody),
        "cut": sum(one.cut for one in everybody),
        "p50": percentile(took, 0.5),
        "p99": percentile(took, 0.99),
        "max": max(took),
        "asked p99": asked.p99,
        "asked failed": asked.failed,
        "native p99": published.p99,
        "native failed": published.failed,
        "nats MB": memory,
        "data MB": size_of(platform.data) - data,
        "logs MB": size_of(platform.data / "logs") - logs,
        "slow": log.count("Slow Consumer"),
        "attack msgs": sum(one["messages"] for one in told),
        "attack MB": sum(one["bytes"] for one in told) / 1e6,
        "let in": sum(one["let_in"] for one in told),
        "turned away": sum(one["refused"] for one in told),
    }


def row(name: str, found: dict[str, float]) -> str:
    figures = [
        f"{found[column]:,.1f}" if found[column] % 1 else f"{found[column]:,.0f}" for column in COLUMNS
    ]
    return "| " + " | ".join([name, *figures]) + " |"


async def main() -> None:
    every = ["nobody", "busy", *WEBSOCKET, *NATIVE]
    parser = argparse.ArgumentParser(
        prog="python -m bench.hostile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--attacks", default="all", help=f"all, or some of {','.join(every)}")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--honest", type=int, default=20)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--two", action="store_true", help="two connections of the hostile agent")
    wanted = parser.parse_args()
    chosen = every if wanted.attacks == "all" else wanted.attacks.split(",")
    print("| attack | " + " | ".join(COLUMNS) + " |")
    print("|---" + "|---:" * len(COLUMNS) + "|", flush=True)
    for name in chosen:
        print(row(name, await measured(name, wanted)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
