"""What delivery promises, measured: emergencies over a backlog, readers that stop, everybody back at once.

    python -m bench.delivery emergency [--queued 100000] [--seconds 10]
    python -m bench.delivery stopped   [--readers 100] [--seconds 60] [--rate 200]
    python -m bench.delivery reconnect [--agents 1000] [--rate 10]

Each on a platform of its own with its standard settings, but for the limit of messages a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import secrets
import socket
import sys
import tempfile
import time
from array import array
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.listeners import Listener
from bench.table import percentile
from bench.throughput import write
from tests.promises.running import Platform, Raw

ALARM = b'"message":"t='
NUMBERED = re.compile(rb'"content":"n=(\d+)".*?"cursor":"([0-9a-f]+\.\d+)"')
SMALL_BUFFER = 65_536


class Quiet(Listener):
    """One whose end surprises nobody."""

    def connection_lost(self, problem: Exception | None) -> None:
        for future in (self.live, self.done):
            if not future.done():
                future.cancel()


class Alarmed(Quiet):
    """Notes how old each emergency is when it comes, also before it is live.

    Those from before it connected are left out: they were there before anybody could have heard them.
    """

    def __init__(self, host: str, token: str) -> None:
        super().__init__(host, token, sys.maxsize, array("d"))
        self.since = time.monotonic_ns()
        self.alarms = array("d")
        self.outcome, self.replaying = "", 0

    def _take(self, opcode: int, body: bytes, now: int) -> None:
        if body.startswith(b'{"type":"welcome"'):
            told = json.loads(body)
            self.outcome, self.replaying = told["outcome"], told["replaying"]
        found = body.find(ALARM)
        while found >= 0:
            start = found + len(ALARM)
            sent = int(body[start : body.index(b'"', start)])
            if sent >= self.since:
                self.alarms.append((now - sent) / 1e6)
            found = body.find(ALARM, start)
        super()._take(opcode, body, now)


class Numbered(Quiet):
    """Notes which numbers came, how often, and where it stands."""

    def __init__(self, host: str, token: str, before: Numbered | None = None) -> None:
        super().__init__(host, token, sys.maxsize, array("d"))
        self.token = token
        self.came: array[int] = before.came if before else array("L")
        self.gaps = before.gaps if before else 0
        self.cursor = before.cursor if before else ""
        self.session = ""
        self.resumed = False
        if before is not None:
            resume = {"session": before.session, "cursor": before.cursor}
            self.hello = json.dumps({"type": "hello", "resume": resume}).encode()

    def _take(self, opcode: int, body: bytes, now: int) -> None:
        if body.startswith(b'{"type":"welcome"'):
            told = json.loads(body)
            self.session, self.resumed = told["session"], told["outcome"] == "resumed"
            self.cursor = self.cursor or told["cursor"]
        elif body.startswith(b'{"type":"gap"'):
            self.gaps += 1
        for number, cursor in NUMBERED.findall(body):
            self.came.append(int(number))
            self.cursor = cursor.decode()
        super()._take(opcode, body, now)

    def drop(self) -> None:
        self._transport.abort()


async def join(platform: Platform, listener: Listener, buffer: int | None = None) -> Listener:
    place = urlsplit(platform.ws)
    sock = socket.socket()
    if buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (str(place.hostname), int(place.port or 0)))
    await loop.create_connection(lambda: listener, sock=sock)
    return listener


async def flood(url: str) -> None:
    """Write as fast as the platform takes it until killed; the token comes on standard input."""
    agent = await Raw.open(url, sys.stdin.readline().strip())
    await agent.hello()
    while True:
        await write(agent, 10_000, None)


async def flooding(platform: Platform) -> asyncio.subprocess.Process:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.delivery", "flood", "--url", platform.ws),
        stdin=asyncio.subprocess.PIPE,
    )
    assert child.stdin is not None
    child.stdin.write(platform.signed("flood").encode() + b"\n")
    await child.stdin.drain()
    return child


async def alarms(platform: Platform, until: asyncio.Event) -> int:
    """Twenty emergencies a second."""
    guard = await platform.enter(platform.signed("guard", lanes=["security_emergency"]))
    sent = 0
    reading = asyncio.create_task(guard.drain())
    while not until.is_set():
        text = f"t={time.monotonic_ns()}"
        await guard.send("security_emergency", threat_type="drill", message=text)
        sent += 1
        await asyncio.sleep(0.05)
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading
    return sent


async def emergency(platform: Platform, wanted: argparse.Namespace) -> dict[str, float]:
    """How old emergencies are for somebody live, and for somebody with a long catch-up before it, while
    somebody else writes as fast as he can."""
    host = str(urlsplit(platform.ws).hostname)
    late_token, live_token = platform.signed("late"), platform.signed("live")
    await (await platform.enter(late_token)).close()
    writer = await platform.agent("writer")
    await write(writer, wanted.queued, None)
    await platform.part()
    live = Alarmed(host, live_token)
    await join(platform, live)
    await live.live
    child, over = await flooding(platform), asyncio.Event()
    alarming = asyncio.create_task(alarms(platform, over))
    await asyncio.sleep(1.0)
    began = time.monotonic()
    late = Alarmed(host, late_token)
    await join(platform, late)
    await asyncio.wait([late.live], timeout=wanted.seconds * 6)
    if late.outcome != "resumed":
        raise SystemExit(f"The late agent did not resume: {late.outcome}.")
    caught_up, while_catching_up = time.monotonic() - began, list(late.alarms)
    await asyncio.sleep(max(0.0, wanted.seconds - caught_up))
    over.set()
    sent = await alarming
    child.kill()
    await child.wait()
    return {
        "queued": float(wanted.queued),
        "sent": float(sent),
        "live p50 ms": percentile(live.alarms, 0.5),
        "live p99 ms": percentile(live.alarms, 0.99),
        "replaying": float(late.replaying),
        "catch-up s": caught_up,
        "heard in catch-up": float(len(while_catching_up)),
        "catch-up p50 ms": percentile(while_catching_up, 0.5) if while_catching_up else 0.0,
        "catch-up p99 ms": percentile(while_catching_up, 0.99) if while_catching_up else 0.0,
    }


def resident(platform: Platform) -> float:
    """MiB of the bridge."""
    text = Path(f"/proc/{platform.children('-m bridge')[0]}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) / 1024


async def steady(platform: Platform, seconds: float, rate: float) -> None:
    agent = await platform.agent(f"writer-{secrets.token_hex(4)}")
    filler = "x" * 1000
    reading = asyncio.create_task(agent.drain())
    began = time.monotonic()
    for number in range(int(seconds * rate)):
        await asyncio.sleep(max(began + number / rate - time.monotonic(), 0))
        exchange = {"content": f"t={time.monotonic_ns()}", "filler": filler}
        await agent.send("memory_update", context_id="main", exchange=exchange)
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading


async def stopped(platform: Platform, wanted: argparse.Namespace) -> dict[str, float]:
    """What ten readers feel, and what the bridge holds, while others do not read at all."""
    host = str(urlsplit(platform.ws).hostname)
    ages = array("d")
    for number in range(10):
        reader = await join(platform, Quiet(host, platform.signed(f"reader-{number}"), sys.maxsize, ages))
        await reader.live
    await steady(platform, wanted.seconds / 4, wanted.rate)
    without = list(ages)
    stalled = []
    for number in range(wanted.readers):
        one = Numbered(host, platform.signed(f"stalled-{number}"))
        await join(platform, one, SMALL_BUFFER)
        await one.live
        one._transport.pause_reading()
        stalled.append(one)
    before, highest = resident(platform), 0.0
    del ages[:]
    writing = asyncio.create_task(steady(platform, wanted.seconds, wanted.rate))
    while not writing.done():
        highest = max(highest, resident(platform))
        await asyncio.wait([writing], timeout=1.0)
    await writing
    return {
        "stopped": float(wanted.readers),
        "seconds": wanted.seconds,
        "p50 ms without": percentile(without, 0.5),
        "p99 ms without": percentile(without, 0.99),
        "p50 ms with": percentile(ages, 0.5),
        "p99 ms with": percentile(ages, 0.99),
        "RSS before MiB": before,
        "RSS at most MiB": highest,
        "RSS after MiB": resident(platform),
    }


async def numbering(agent: Raw, rate: float, until: asyncio.Event) -> int:
    number = 0
    while not until.is_set():
        sent = await agent.ask("memory_update", context_id="main", exchange={"content": f"n={number}"})
        assert sent["type"] == "accepted", sent
        number += 1
        await asyncio.sleep(1 / rate)
    return number


async def reconnect(platform: Platform, wanted: argparse.Namespace) -> dict[str, float]:
    """Everybody is cut off at once and comes back at once, while somebody goes on writing."""
    host = str(urlsplit(platform.ws).hostname)
    crowd = [Numbered(host, platform.signed(f"agent-{number}")) for number in range(wanted.agents)]
    for one in crowd:
        await join(platform, one)
        await one.live
    over = asyncio.Event()
    writing = asyncio.create_task(numbering(await platform.agent("writer"), wanted.rate, over))
    await asyncio.sleep(3.0)
    for one in crowd:
        one.drop()
    await asyncio.sleep(1.0)
    began = time.monotonic()
    back = [Numbered(host, one.token, one) for one in crowd]
    await asyncio.gather(*(join(platform, one) for one in back))
    await asyncio.gather(*(one.live for one in back))
    seconds = time.monotonic() - began
    await asyncio.sleep(2.0)
    over.set()
    written = await writing
    for _ in range(300):
        if all(len(one.came) >= written for one in back):
            break
        await asyncio.sleep(0.1)
    return {
        "agents": float(wanted.agents),
        "all back s": seconds,
        "resumed": float(sum(one.resumed for one in back)),
        "written": float(written),
        "complete": float(sum(set(one.came) == set(range(written)) for one in back)),
        "gaps": float(sum(one.gaps for one in back)),
        "duplicates": float(sum(len(one.came) - len(set(one.came)) for one in back)),
    }


MEASURED = {"emergency": emergency, "stopped": stopped, "reconnect": reconnect}


async def measure(wanted: argparse.Namespace) -> None:
    os.environ["BACKCHANNEL_MESSAGES_PER_SECOND"] = "1000000"
    os.environ["BACKCHANNEL_AGENT_BYTES_PER_SECOND"] = str(1 << 30)
    with tempfile.TemporaryDirectory() as folder:
        platform = await Platform(Path(folder) / "platform").start()
        try:
            found = await MEASURED[wanted.what](platform, wanted)
        finally:
            await platform.stop()
    print(f"| {wanted.what} | |\n| --- | ---: |")
    for name, figure in found.items():
        print(f"| {name} | {figure:,.2f} |" if figure % 1 else f"| {name} | {figure:,.0f} |")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.delivery", description=__doc__)
    parser.add_argument("what", choices=[*MEASURED, "flood"])
    parser.add_argument("--queued", type=int, default=100_000)
    parser.add_argument("--readers", type=int, default=100)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    wanted.seconds = wanted.seconds or (60.0 if wanted.what == "stopped" else 10.0)
    wanted.rate = wanted.rate or (200.0 if wanted.what == "stopped" else 10.0)
    return wanted


def work(wanted: argparse.Namespace) -> Coroutine[Any, Any, None]:
    return flood(wanted.url) if wanted.what == "flood" else measure(wanted)


if __name__ == "__main__":
    asyncio.run(work(parsed()))
