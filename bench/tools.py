"""How many tool requests a second are judged, granted and on record, beside one synced append for each.

    python -m bench.tools [--requests 400] [--agents 1,8,32]

A whole platform (`backchannel up`). Agents at the level autonomous ask for a harmless tool; each waits for
its decision before it asks again. Every decision writes an intent to the audit trail before it is stored.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from backchannel.client import Agent
from bench.audit import onto_the_disk
from bench.table import table
from tests.promises.running import Platform

CLAIMS = {"supervision_level": "autonomous", "tools": {"allowed": ["file_read"]}}
REQUEST = {"type": "tool_request", "tool": "file_read", "params": {"path": "/srv/data/a.txt"}}


async def asked(platform: Platform, requests: int, count: int) -> tuple[float, float]:
    """Decisions a second, and the median time of one in milliseconds."""
    took: list[float] = []

    async def ask(me: Agent) -> None:
        for _ in range(requests // count):
            began = time.perf_counter()
            await me.request(REQUEST)
            took.append(time.perf_counter() - began)

    agents = [
        await Agent.connect(f"agent-{number}", data=platform.data, claims=CLAIMS, timeout=120)
        for number in range(count)
    ]
    began = time.perf_counter()
    await asyncio.gather(*(ask(me) for me in agents))
    whole = time.perf_counter() - began
    for me in agents:
        await me.close()
    return len(took) / whole, sorted(took)[len(took) // 2] * 1000


async def main(requests: int, counts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as place:
        platform = await Platform(Path(place) / "data").start()
        try:
            found = [await asked(platform, requests, count) for count in counts]
        finally:
            await platform.stop()
        disk = [onto_the_disk(Path(place), requests, 1) for _ in counts]
    rates = [rate for rate, _ in found]
    figures = {
        "decisions/s": rates,
        "one decision, ms": [median for _, median in found],
        "synced append, records/s": disk,
        "ratio": [rate / other for rate, other in zip(rates, disk, strict=True)],
    }
    print(table("agents", counts, figures))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--agents", default="1,8,32")
    chosen = parser.parse_args()
    asyncio.run(main(chosen.requests, [int(count) for count in chosen.agents.split(",")]))
