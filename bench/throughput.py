"""One agent writes to main while others listen, over real sockets: how much arrives a second, how soon.

    python -m bench.throughput [--listeners 1,10,100] [--messages 3000] [--rate 200]

A whole platform of its own with its standard settings, but for the limits of messages and bytes a second.
First as fast as the platform takes them with WINDOW unanswered, then at a steady rate that leaves it idle in
between.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.table import table
from tests.promises.running import Platform, Raw

WINDOW = 100
WAIT = 60.0


async def listening(platform: Platform, count: int, messages: int) -> asyncio.subprocess.Process:
    """So many listeners in a process of their own, all live."""
    place = urlsplit(platform.ws)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.listeners", str(place.hostname), str(place.port), str(messages)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdin is not None and child.stdout is not None
    run = secrets.token_hex(4)  # nobody who was here before, or it would catch up first
    tokens = [platform.signed(f"listener-{run}-{number}") for number in range(count)]
    child.stdin.write("\n".join(tokens).encode())
    child.stdin.close()
    try:
        async with asyncio.timeout(30):
            if await child.stdout.readline() == b"ready\n":
                return child
    except TimeoutError:
        child.kill()
    raise SystemExit("The listeners did not come in.")


async def write(agent: Raw, messages: int, rate: float | None) -> None:
    """Send, with at most WINDOW unanswered, and wait for all answers."""
    room = asyncio.Semaphore(WINDOW)
    left = messages

    async def read() -> None:
        nonlocal left
        async for frame in agent.socket:
            said = json.loads(frame)
            if said["type"] == "error":
                raise SystemExit(str(said))
            if said["type"] == "accepted":
                left -= 1
                room.release()
            if not left:
                return

    reading = asyncio.create_task(read())
    began = time.monotonic()
    for number in range(messages):
        await room.acquire()
        if rate is not None:
            await asyncio.sleep(max(began + number / rate - time.monotonic(), 0))
        exchange = {"content": f"t={time.monotonic_ns()}"}  # without a topic, or updates would be coalesced
        await agent.send("memory_update", context_id="main", exchange=exchange)
    await reading


async def run(platform: Platform, count: int, messages: int, rate: float | None) -> dict[str, float]:
    agent = await platform.agent("writer")
    listeners = await listening(platform, count, messages)
    try:
        return await measured(platform, agent, listeners, messages, rate)
    finally:
        if listeners.returncode is None:
            listeners.kill()
            await listeners.wait()


async def measured(
    platform: Platform,
    agent: Raw,
    listeners: asyncio.subprocess.Process,
    messages: int,
    rate: float | None,
) -> dict[str, float]:
    assert listeners.stdout is not None
    began = time.monotonic()
    async with asyncio.timeout(WAIT):
        await write(agent, messages, rate)
        told: dict[str, Any] = json.loads(await listeners.stdout.readline())
        await listeners.wait()
    await platform.part()
    seconds = told["ended"] - began
    return {
        "written/s": messages / seconds,
        "delivered/s": told["delivered"] / seconds,
        "p50 ms": told["p50"],
        "p99 ms": told["p99"],
    }


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.throughput", description=__doc__)
    parser.add_argument("--listeners", type=numbers, default=[1, 10, 100])
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--rate", type=float, default=200.0)
    wanted = parser.parse_args()
    os.environ["BACKCHANNEL_MESSAGES_PER_SECOND"] = "1000000"
    os.environ["BACKCHANNEL_AGENT_BYTES_PER_SECOND"] = str(1 << 30)
    with tempfile.TemporaryDirectory() as folder:
        platform = await Platform(Path(folder) / "platform").start()
        try:
            for title, rate in (("as fast as it goes", None), (f"{wanted.rate:g} a second", wanted.rate)):
                found = [await run(platform, count, wanted.messages, rate) for count in wanted.listeners]
                rows = {name: [figures[name] for figures in found] for name in found[0]}
                print(table(f"{title}, by listeners", wanted.listeners, rows), end="\n\n")
        finally:
            await platform.stop()


if __name__ == "__main__":
    asyncio.run(main())
