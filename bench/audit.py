"""How many records a second the audit trail takes, against what a disk can do: one synced append per commit.

    python -m bench.audit [--records 5000] [--writers 1,64,500]

A nats-server of its own. Writers each wait for their record before they write the next, as intents do.
The comparison appends and syncs (fdatasync) the same records to a file, as many at once as there are writers.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

from backchannel.domain.audit import GENESIS, chained
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.embedded import Server
from backchannel.jetstream.topology import provision
from backchannel.service.trail import Deed, Trail
from bench.table import table


def deed(number: int) -> Deed:
    facts = {"tool": "file_write", "params": {"path": "/srv/site/index.html"}, "number": number}
    return Deed.intent("main", "tool", "alice", "execute", facts, f"request-{number}")


async def through_the_trail(connection: Connection, records: int, writers: int) -> float:
    """Records a second."""
    trail = Trail(connection, source="bench")

    async def write(count: int) -> None:
        for number in range(count):
            await trail.write(deed(number))

    began = time.perf_counter()
    await asyncio.gather(*(write(records // writers) for _ in range(writers)))
    took = time.perf_counter() - began
    await trail.close()
    return records // writers * writers / took


def onto_the_disk(folder: Path, records: int, writers: int) -> float:
    """The same number of bytes, synced once for as many records as there are writers; records a second."""
    fields = {"group": "main", "at": "2026-01-01T00:00:00.000Z", "id": "0" * 32, "category": "tool"}
    more = {"entity": "alice", "action": "execute", "phase": "intent", "of": "request-1", "source": "bench"}
    line = chained({**fields, **more, "facts": dict(deed(1).facts)}, 1, GENESIS).body + b"\n"
    file = os.open(folder / f"plain-{writers}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    began = time.perf_counter()
    for _ in range(records // writers):
        os.write(file, line * writers)
        os.fdatasync(file)
    took = time.perf_counter() - began
    os.close(file)
    return records // writers * writers / took


async def storm(connection: Connection, count: int) -> tuple[float, float]:
    """So many connections at once: seconds the bridge spends noting them, and until all are in the trail."""
    trail = Trail(connection, source="bench")
    began = time.perf_counter()
    for number in range(count):
        facts = {"address": "127.0.0.1", "permission": "active", "outcome": "live_only"}
        trail.note(Deed("main", "connection", f"agent-{number}", "connected", facts))
    noted = time.perf_counter() - began
    await trail.settled(30)
    took = time.perf_counter() - began
    await trail.close()
    return noted, took


async def main(records: int, writers: list[int]) -> None:
    with tempfile.TemporaryDirectory() as place:
        server = Server(Path(place) / "nats")
        await server.start()
        try:
            async with await Connection.open(server.address(), name="bench") as connection:
                await provision(connection, ["main"])
                kept, disk = [], []
                for count in writers:
                    kept.append(await through_the_trail(connection, records, count))
                    disk.append(onto_the_disk(Path(place), records, count))
                ratio = [one / other for one, other in zip(kept, disk, strict=True)]
                figures = {"trail, records/s": kept, "synced append, records/s": disk, "ratio": ratio}
                print(table("writers", writers, figures))
                noted, took = await storm(connection, 1000)
                print(
                    f"1000 connections at once: noted in {noted * 1e3:.0f} ms, kept after {took * 1e3:.0f} ms"
                )
        finally:
            server.kill()
            await server.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=5000)
    parser.add_argument("--writers", default="1,64,500")
    chosen = parser.parse_args()
    asyncio.run(main(chosen.records, [int(number) for number in chosen.writers.split(",")]))
