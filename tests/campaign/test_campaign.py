"""The campaign: agents with bad habits on a platform that is killed again and again, checked to the end.

BACKCHANNEL_CAMPAIGN=short makes it as short as continuous integration allows. BACKCHANNEL_CAMPAIGN_MINUTES
and BACKCHANNEL_CAMPAIGN_SEED say how long it takes and which one it is; BACKCHANNEL_CAMPAIGN_REPORT names a
file for its report.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.page import page
from backchannel.jetstream.record import Record
from backchannel.protocol.subject import InContext, InInbox, events_stream, locate
from tests.campaign.actor import Actor, Rooms, owed
from tests.campaign.checker import Checker, Verdict
from tests.campaign.history import Logged, To, fingerprint
from tests.campaign.mayhem import Mayhem
from tests.promises.running import Platform

SHORT = os.environ.get("BACKCHANNEL_CAMPAIGN") == "short"
MINUTES = float(os.environ.get("BACKCHANNEL_CAMPAIGN_MINUTES", "0.5" if SHORT else "10"))
SEED = int(os.environ.get("BACKCHANNEL_CAMPAIGN_SEED", "1"))
ACTORS = 10
TIGHT = {
    "BACKCHANNEL_SEND_BUFFER": "8192",
    "BACKCHANNEL_HIGH_WATER": "16384",
    "BACKCHANNEL_QUEUE": "30",
    "BACKCHANNEL_HEARTBEAT_SECONDS": "3",
}
"""So little may wait for a connection that whoever stalls misses something within seconds."""

BETWEEN = (2.0, 5.0) if SHORT else (4.0, 10.0)
"""Seconds between two faults."""


@pytest.mark.campaign
@pytest.mark.timeout(int(MINUTES * 60) + 400)
async def test_whatever_happens_nothing_is_lost_and_nothing_comes_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in TIGHT.items():
        monkeypatch.setenv(name, value)
    platform = await Platform(tmp_path / "data").start("--bridges", "2", "--handlers", "2")
    began = time.monotonic()
    try:
        actors, mayhem = await run(platform, random.Random(SEED))
        verdict = await judged(platform, actors)
    finally:
        await platform.stop()
    told = report(actors, mayhem, verdict, time.monotonic() - began)
    assert not verdict.violations, told
    assert verdict.deliveries > 1000, told


async def run(platform: Platform, chance: random.Random) -> tuple[list[Actor], Mayhem]:
    """Everybody arrives, then mayhem, then everybody waits for the same last message."""
    cast = [f"agent-{number}" for number in range(ACTORS)]
    rooms = Rooms()
    actors = [
        Actor(
            name,
            platform.signed(name, lanes=["security_emergency"]),
            lambda: platform.ws,
            cast,
            rooms,
            random.Random(chance.random()),
        )
        for name in cast
    ]
    await asyncio.gather(*(arrive(actor) for actor in actors))
    over = asyncio.Event()
    mayhem = Mayhem(platform, actors, random.Random(chance.random()))
    async with asyncio.TaskGroup() as group:
        for actor in actors:
            group.create_task(actor.live(over))
        group.create_task(mayhem.rage(over, *BETWEEN))
        await asyncio.sleep(MINUTES * 60)
        over.set()
    await finish(actors)
    return actors, mayhem


async def arrive(actor: Actor) -> None:
    """Be there once, so that everything from now on is for it too."""
    while not actor.diary.visits:
        await actor.visit(lambda socket: socket.close())


async def finish(actors: list[Actor]) -> None:
    try:
        await asyncio.gather(*(actor.settle() for actor in actors))
    except TimeoutError:
        print("NOT SETTLED:", *owed(actors), sep="\n  ", file=sys.stderr)
    last = await actors[0].say(last=True, priority="background")
    found = await asyncio.gather(
        *(actor.hear(last["message_id"]) for actor in actors), return_exceptions=True
    )
    for actor, problem in zip(actors, found, strict=True):
        actor.diary.until = actors[0].diary.sent[last["message_id"]].position
        if problem is not None:
            print(f"{actor.name} did not hear the end: {problem!r}", file=sys.stderr)


async def judged(platform: Platform, actors: list[Actor]) -> Verdict:
    checker = Checker([actor.diary for actor in actors])
    async with operator(platform) as connection:
        async for record in records(connection):
            entry = logged(record)
            if entry is not None:
                checker.read(entry)
    return checker.finish()


@asynccontextmanager
async def operator(platform: Platform) -> AsyncIterator[Connection]:
    user, password = Home(platform.data).nats_login("operator")
    async with await Connection.open(Address(platform.nats, user, password), name="campaign") as connection:
        yield connection


async def records(connection: Connection) -> AsyncIterator[Record]:
    """The whole log of the group, a page at a time."""
    position = 0
    while True:
        found = await page(connection, events_stream("main"), position, limit=1000)
        for record in found.records:
            yield record
        position = found.last_sequence_scanned
        if found.done:
            return


def logged(record: Record) -> Logged | None:
    """A record as the checker wants it; None for what is no event."""
    located = locate(record.subject)
    if located is None:
        return None
    event = json.loads(record.payload)
    match located.to:
        case InContext(context_id, kind):
            to: To = ("ctx", context_id)
        case InInbox(agent, kind):
            to = ("inbox", agent)
        case _:
            to, kind = ("all", "*"), "broadcast"
    members = event.get("members") if kind == "life" else None
    return Logged(
        position=record.sequence,
        sender=event.get("sender_agent_id") or "",
        message_id=event["message_id"],
        lane=located.lane,
        to=to,
        print=fingerprint(event),
        members=frozenset(members) if members is not None else None,
        answers=event.get("in_reply_to") if event["type"] == "result" else None,
    )


def report(actors: list[Actor], mayhem: Mayhem, verdict: Verdict, seconds: float) -> str:
    told = "\n".join(_lines(actors, mayhem, verdict, seconds))
    print(told)
    if path := os.environ.get("BACKCHANNEL_CAMPAIGN_REPORT"):
        Path(path).write_text(told + "\n")
    return told


def _lines(actors: list[Actor], mayhem: Mayhem, verdict: Verdict, seconds: float) -> Iterator[str]:
    counts: Counter[str] = Counter()
    for actor in actors:
        counts += actor.counts
    yield f"Campaign with seed {SEED}: {seconds:.0f} s, {ACTORS} agents, 2 bridges, 2 handlers processes"
    yield f"  scenarios    {sum(mayhem.scenarios.values())}: {_list(mayhem.scenarios)}"
    yield f"  kills        {sum(mayhem.kills.values())}: {_list(mayhem.kills)}"
    yield f"  connections  {counts['connections']}"
    yield f"  accepted     {counts['accepted']} messages of {counts['messages sent']} sent"
    yield f"  log          {verdict.logged} events"
    yield f"  deliveries   {verdict.deliveries}, {verdict.redelivered} of them again over another connection"
    yield f"  gaps         {counts['gaps']}, naming {verdict.named_in_gaps} events"
    yield f"  and          {_list(counts)}"
    yield f"  violations   {sum(verdict.by_rule.values())} {_list(verdict.by_rule)}"
    for found in verdict.violations:
        yield f"    {found.rule}: {found.agent} at {found.position}: {found.story}"
    yield f"Again: BACKCHANNEL_CAMPAIGN_SEED={SEED} BACKCHANNEL_CAMPAIGN_MINUTES={MINUTES:g} make campaign"


def _list(counts: Counter[str]) -> Any:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
