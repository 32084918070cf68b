"""Everything at once: rooms, comings and goings, two bridges, and a server that is killed again and again."""

from __future__ import annotations

import asyncio
import json
import os
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.bridge.house.client import Client
from tests.bridge.house.conftest import Platform
from tests.build import content

ROOMS = ("logins", "tls", "disk")
SECONDS = 20.0
SEEDS = {"short": 1}.get(os.environ.get("BACKCHANNEL_CAMPAIGN", ""), 3)


@dataclass
class Reader:
    """An agent that comes and goes, and always shows where it was."""

    name: str
    platform: Platform
    chance: random.Random
    heard: list[dict[str, Any]] = field(default_factory=list)
    cursor: str | None = None
    session: str | None = None

    async def live(self, over: asyncio.Event) -> None:
        while not over.is_set():
            await self.visit(self.chance.uniform(0.0, 1.0))

    async def visit(self, seconds: float, until: str | None = None) -> None:
        client = await self.platform.connect(self.name, bridge=self.chance.randrange(2))
        try:
            await client.hello(resume={"session": self.session, "cursor": self.cursor})
            self.session = client.welcome["session"]
            self.cursor = self.cursor or client.welcome["cursor"]
            assert client.welcome["outcome"] != "gap"
            if until is not None:
                await client.until(
                    lambda one: any(event["message_id"] == until for event in self.heard + one.events)
                )
            await asyncio.sleep(seconds)
        except (AssertionError, ConnectionError):
            assert client.socket.close_code in (None, 1006, 1011, 1012, 1013, 4409), client.socket.close_code
        finally:
            client.vanish() if self.chance.random() < 0.5 else await client.leave()
            await client.closed()
            self.heard += client.events
            self.cursor = client.events[-1]["cursor"] if client.events else self.cursor


async def write(client: Client, platform: Platform, chance: random.Random, over: asyncio.Event) -> None:
    """Say things here and there, and bring people in and out, as fast as it goes."""
    readers = [f"reader{number}" for number in range(4)]
    while not over.is_set():
        for _ in range(chance.randrange(20)):
            room = chance.choice(["main", *ROOMS])
            await client.send(
                "memory_update", context_id=room, exchange={"content": "x" * chance.randrange(800)}
            )
        await client.send("mention_route", target_agents=chance.sample(readers, 2), message="look")
        if chance.random() < 0.3:
            members = ["writer", *chance.sample(readers, chance.randrange(5))]
            await platform.life(chance.choice(ROOMS), members)
        await asyncio.sleep(chance.uniform(0, 0.02))


async def kill_again_and_again(platform: Platform, over: asyncio.Event) -> None:
    while not over.is_set():
        await asyncio.sleep(3.0)
        platform.server.kill()
        await platform.server.wait()
        await platform.server.start()


def visible(name: str, records: list[Any], after: int) -> list[str]:
    """What an agent may see of a log, by the simplest rule there is."""
    members: dict[str, set[str]] = {room: set() for room in ROOMS}
    found = []
    for record in records:
        event = json.loads(record.payload)
        _, _, _, kind, where, *_, last = record.subject.split(".")
        before = name in members.get(where, ())
        if last == "life":
            members[where] = set(event["members"])
        mine = kind == "inbox" and where == name
        if record.sequence > after and (mine or where == "main" or before or name in members.get(where, ())):
            found.append(event["message_id"])
    return found


@pytest.mark.campaign
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_nobody_misses_anything_and_nobody_hears_anything_twice(bare: Platform, seed: int) -> None:
    chance, over = random.Random(seed), asyncio.Event()
    for _ in range(2):
        await bare.bridge(messages_per_second=1_000_000)
    readers = [Reader(f"reader{number}", bare, random.Random(seed * 10 + number)) for number in range(4)]
    for reader in readers:
        await reader.visit(0)
    for room in ROOMS:
        await bare.life(room, ["writer"])
    writer = await bare.agent("writer")
    busy = [asyncio.create_task(reader.live(over)) for reader in readers]
    busy.append(asyncio.create_task(kill_again_and_again(bare, over)))
    busy.append(asyncio.create_task(write(writer, bare, chance, over)))
    await asyncio.sleep(SECONDS)
    over.set()
    await asyncio.gather(*busy)
    last = content("memory_update", context_id="main", exchange={"content": "the end"})
    await bare.store("bc.main.evt.ctx.main.normal.memory", last)
    for reader in readers:
        await reader.visit(0, until=last["message_id"])
    records = await bare.log()
    for reader in readers:
        heard = [event["message_id"] for event in reader.heard]
        assert heard == visible(reader.name, records, 0)
    assert len(records) > 1000
