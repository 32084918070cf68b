"""What deciding, showing and listing cost, by how many sidebars there are and how much has happened in one.

    python -m bench.sidebars [--sizes 100,1000,10000] [--events 10,100,1000] [--rounds 200]

A nats-server and one handlers process of their own; medians of requests made one after another.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pydantic_core

from backchannel.errors import BackchannelError
from backchannel.home.files import new_key
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.embedded import Server
from backchannel.jetstream.publish import Entry, Publisher, Stored
from backchannel.jetstream.read import Record, describe
from backchannel.jetstream.tail import Tail
from backchannel.jetstream.topology import provision
from backchannel.protocol.subject import events_stream, inbox_of
from bench.table import median, table

ACTIVE = 200
AGENT = "ada"
LIMIT = 50
NOON = "2026-01-31T12:00:00.000Z"
WAIT = 120.0


@dataclass(slots=True)
class Bench:
    """A server, its handlers, and the results that come back to the one agent who asks."""

    server: Server
    connection: Connection
    publisher: Publisher
    folder: Path
    groups: Sequence[str]
    results: dict[str, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    handlers: asyncio.subprocess.Process | None = None

    async def fill(self, group: str, entries: Sequence[Entry]) -> None:
        """Store many, as fast as the log takes them."""
        stored: asyncio.Queue[Stored | BackchannelError] = asyncio.Queue(len(entries))
        for entry in entries:
            while not self.publisher.free:  # noqa: ASYNC110 - it says when by being free
                await asyncio.sleep(0)
            self.publisher.post(entry, stored.put_nowait)
        for _ in entries:
            outcome = await stored.get()
            if isinstance(outcome, BackchannelError):
                raise outcome
        assert (await describe(self.connection, events_stream(group))).messages >= len(entries)

    async def start(self) -> float:
        """Start handlers; the seconds until they say that they are ready."""
        address = self.server.address()
        secret, key = self.folder / "password", self.folder / "token.key"
        secret.write_text(address.password or "", "utf-8")
        key.write_text(new_key(), "utf-8")
        for file in (secret, key):
            file.chmod(0o600)
        began = time.perf_counter()
        with (self.folder / "handlers.log").open("ab") as told:
            self.handlers = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "handlers"),
                env={
                    **os.environ,
                    "BACKCHANNEL_NATS_URL": address.url,
                    "BACKCHANNEL_NATS_USER": address.user or "",
                    "BACKCHANNEL_NATS_PASSWORD_FILE": str(secret),
                    "BACKCHANNEL_TOKEN_KEY_FILE": str(key),
                    "BACKCHANNEL_GROUPS": ",".join(self.groups),
                },
                stdout=asyncio.subprocess.PIPE,
                stderr=told,
            )
        assert self.handlers.stdout is not None
        async with asyncio.timeout(WAIT):
            if await self.handlers.stdout.readline() != b"ready\n":
                raise SystemExit((self.folder / "handlers.log").read_text("utf-8"))
        return time.perf_counter() - began

    async def stop(self) -> None:
        assert self.handlers is not None
        self.handlers.send_signal(signal.SIGTERM)
        await self.handlers.wait()

    async def decide(self, group: str, kind: str, **fields: Any) -> dict[str, Any]:
        """Give a command to the handlers and wait for its result."""
        said = {"type": kind, "message_id": str(uuid4()), "timestamp": NOON, **fields}
        key = said["message_id"]
        self.results[key] = asyncio.get_running_loop().create_future()
        subject = f"bc.{group}.cmd.normal.{AGENT}.{kind}"
        await self.publisher.store(
            Entry(subject, pydantic_core.to_json(said), {"Nats-Msg-Id": f"{AGENT}:{key}"})
        )
        async with asyncio.timeout(WAIT):
            answer = await self.results[key]
        del self.results[key]
        if answer["status"] != "success":
            raise SystemExit(f"{kind}: {answer}")
        return answer

    async def ask(self, group: str, query: str, **params: Any) -> dict[str, Any]:
        reply = await self.connection.request(
            f"bc.{group}.svc.query.{query}",
            pydantic_core.to_json(params),
            headers={"Bc-Caller": "operator", "Bc-Role": "operator"},
            timeout=WAIT,
        )
        answer: dict[str, Any] = pydantic_core.from_json(reply.payload)
        if answer["status"] != "success":
            raise SystemExit(f"{query}: {answer}")
        return answer

    def take(self, record: Record) -> None:
        said = pydantic_core.from_json(record.payload)
        waiting = self.results.get(said.get("in_reply_to", ""))
        if waiting is not None and not waiting.done():
            waiting.set_result(said)


@contextlib.asynccontextmanager
async def opened(groups: Sequence[str]) -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = Server(folder / "nats")
        await server.start()
        connection = await Connection.open(server.address(), name="bench")
        await provision(connection, groups)
        bench = Bench(server, connection, Publisher(connection), folder, groups)
        tails = []
        for group in groups:
            entry = {"agent_id": AGENT, "entity_type": "agent"}
            await Bucket(connection, "BC_agents").put(f"{group}.{AGENT}", pydantic_core.to_json(entry))
            tail = Tail(
                connection,
                events_stream(group),
                after=0,
                on_record=bench.take,
                filters=(inbox_of(group, AGENT),),
            )
            await tail.start()
            tails.append(tail)
        try:
            yield bench
        finally:
            if bench.handlers is not None and bench.handlers.returncode is None:
                bench.handlers.kill()
                await bench.handlers.wait()
            for tail in tails:
                await tail.stop()
            await connection.close()
            server.kill()
            await server.wait()


def lived(group: str, sidebar: str, number: int, said: dict[str, Any]) -> Entry:
    """An event as a handler would have written it."""
    key = f"{sidebar}-{number}"
    filled = {"message_id": str(uuid4()), "timestamp": NOON, "sender_agent_id": AGENT, "by": AGENT}
    payload = pydantic_core.to_json({**filled, "members": [AGENT], "cause": f"{AGENT}:{key}", **said})
    subject = f"bc.{group}.evt.ctx.{sidebar}.normal.life"
    return Entry(subject, payload, {"Nats-Msg-Id": f"{AGENT}:{key}:e0"})


def born(group: str, sidebar: str) -> Entry:
    said = {"type": "sidebar_spawn", "sidebar_id": sidebar, "parent_id": "main", "participants": []}
    return lived(group, sidebar, 0, {**said, "status": "active", "task_description": "Find out."})


def many(group: str, size: int) -> list[Entry]:
    """So many sidebars, of which some are active and all others archived."""
    found = [born(group, f"s{number}") for number in range(size)]
    said = {"type": "sidebar_archive", "status": "archived", "archive_reason": "Done."}
    return found + [
        lived(group, f"s{number}", 1, {**said, "sidebar_id": f"s{number}"})
        for number in range(min(ACTIVE, size // 2), size)
    ]


def busy(group: str, sidebar: str, events: int) -> list[Entry]:
    """One sidebar in which so much has happened."""
    test = {"type": "sidebar_test_result", "sidebar_id": sidebar, "result": "passed", "status": "active"}
    told = {"test_description": "Replay the log.", "findings": "All match."}
    return [born(group, sidebar)] + [
        lived(group, sidebar, number, {**test, **told}) for number in range(1, events)
    ]


async def milliseconds(rounds: int, work: Callable[[int], Awaitable[Any]]) -> float:
    """The median over so many rounds."""
    figures = []
    for number in range(rounds):
        began = time.perf_counter()
        await work(number)
        figures.append((time.perf_counter() - began) * 1000)
    return median(figures)


async def costs(bench: Bench, group: str, sidebar: str, rounds: int) -> dict[str, float]:
    """What each request to one sidebar of a group costs."""
    half = (await bench.ask(group, "status"))["log"]["cursor"]

    def turn(number: int) -> Awaitable[Any]:
        kind = "sidebar_pause" if number % 2 == 0 else "sidebar_resume"
        return bench.decide(group, kind, sidebar_id=sidebar, reason="bench")

    few = max(rounds // 10, 5)
    return {
        "decide": await milliseconds(rounds // 2 * 2, turn),
        "spawn a child": await milliseconds(
            few,
            lambda _: bench.decide(group, "sidebar_spawn", parent_id=sidebar, task_description="A part."),
        ),
        "show": await milliseconds(rounds, lambda _: bench.ask(group, "sidebar", sidebar_id=sidebar)),
        "show --until": await milliseconds(
            few, lambda _: bench.ask(group, "sidebar", sidebar_id=sidebar, until=half)
        ),
        f"list {LIMIT} of all": await milliseconds(few, lambda _: bench.ask(group, "sidebars", limit=LIMIT)),
        f"list {LIMIT} active": await milliseconds(
            few, lambda _: bench.ask(group, "sidebars", limit=LIMIT, status="active")
        ),
        "list of one parent": await milliseconds(
            few, lambda _: bench.ask(group, "sidebars", limit=LIMIT, parent_id=sidebar)
        ),
        "status": await milliseconds(few, lambda _: bench.ask(group, "status")),
        "agents": await milliseconds(few, lambda _: bench.ask(group, "agents")),
    }


async def by_number(sizes: Sequence[int], rounds: int) -> None:
    groups = [f"g{size}" for size in sizes]
    async with opened(groups) as bench:
        for group, size in zip(groups, sizes, strict=True):
            await bench.fill(group, many(group, size))
        cold = await bench.start()
        found = [await costs(bench, group, "s0", rounds) for group in groups]
        await bench.stop()
        warm = await bench.start()
    rows = {name: [figures[name] for figures in found] for name in found[0]}
    print(table(f"sidebars ({ACTIVE} active), ms", sizes, rows), end="\n\n")
    print(f"Start over {sum(sizes):,} sidebars: from the log {cold:.2f} s, from saved folds {warm:.2f} s.\n")


async def by_events(sizes: Sequence[int], rounds: int) -> None:
    group = "main"
    async with opened([group]) as bench:
        for size in sizes:
            await bench.fill(group, busy(group, f"s{size}", size))
        await bench.start()
        found = [await costs(bench, group, f"s{size}", rounds) for size in sizes]
        await bench.stop()
    rows = {name: [figures[name] for figures in found] for name in found[0]}
    print(table("events in one sidebar, ms", sizes, rows))


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sidebars", description=__doc__)
    parser.add_argument("--sizes", type=numbers, default=[100, 1000, 10_000])
    parser.add_argument("--events", type=numbers, default=[10, 100, 1000])
    parser.add_argument("--rounds", type=int, default=200)
    wanted = parser.parse_args()
    await by_number(wanted.sizes, wanted.rounds)
    await by_events(wanted.events, wanted.rounds)


if __name__ == "__main__":
    asyncio.run(main())
