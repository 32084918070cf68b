"""Three servers, and the leader killed or asked to leave: nothing is lost, repeated or reordered."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backchannel.errors import BackchannelError, Unavailable
from backchannel.jetstream.address import Address
from backchannel.jetstream.answer import api
from backchannel.jetstream.binary import find
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.entry import MSG_ID, Stored
from backchannel.jetstream.leash import leashed
from backchannel.jetstream.publish import Publisher
from backchannel.jetstream.read import Record, describe
from backchannel.jetstream.tail import Tail
from backchannel.jetstream.topology import provision
from tests.jetstream.faults import STREAM, eventually, lived, said
from tests.ports import free_ports

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(300)]

SERVER = """
server_name: "{name}"
listen: "127.0.0.1:{port}"
max_payload: 2MB
jetstream {{ store_dir: "{store}" }}
cluster {{ name: "test", listen: "127.0.0.1:{route}", routes: [{routes}] }}
accounts {{
  APP {{
    jetstream: enabled
    users: [{{ user: "platform", password: "secret" }}]
  }}
  SYS {{ users: [{{ user: "system", password: "secret" }}] }}
}}
system_account: SYS
"""


class Cluster:
    """Three servers on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ports = free_ports(6)
        self.ports, routes = ports[:3], ports[3:]
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.address = Address(",".join(f"nats://127.0.0.1:{p}" for p in self.ports), "platform", "secret")
        for number, (port, route) in enumerate(zip(self.ports, routes, strict=True)):
            text = SERVER.format(
                name=f"n{number}",
                port=port,
                store=folder / f"n{number}",
                route=route,
                routes=", ".join(f'"nats://127.0.0.1:{other}"' for other in routes),
            )
            (folder / f"n{number}.conf").write_text(text, "utf-8")
            self.start(f"n{number}")

    def start(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            argv = leashed([str(find().path), "-c", str(self.folder / f"{name}.conf")])
            self.running[name] = subprocess.Popen(argv, stdout=log, stderr=log)

    async def end(self, name: str, how: signal.Signals) -> None:
        ended = self.running.pop(name)
        ended.send_signal(how)
        await asyncio.to_thread(ended.wait)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    for name in list(made.running):
        await made.end(name, signal.SIGKILL)


async def provisioned(connection: Connection) -> None:
    """A cluster that has just been started takes a moment to agree on anything."""
    async with asyncio.timeout(60):
        while True:
            try:
                await provision(connection, ["main"], replicas=3)
                return
            except BackchannelError:
                await asyncio.sleep(0.5)


async def leader_of(connection: Connection, stream: str) -> str:
    return str((await api(connection, f"STREAM.INFO.{stream}", timeout=30.0))["cluster"]["leader"])


class Writers:
    """Write to the log in three ways, until told to stop."""

    def __init__(self, connection: Connection) -> None:
        self.publisher = Publisher(connection, deadline=60.0)
        self.config = Bucket(connection, "BC_config", self.publisher)
        self.told: dict[str, Stored | BackchannelError] = {}
        self.stopped = asyncio.Event()

    async def talk(self) -> None:
        number = 0
        while not self.stopped.is_set():
            if self.publisher.free > 900:
                self._post(number)
                number += 1
            await asyncio.sleep(0.001)
        await eventually(lambda: self.publisher.free == 1024, 90)

    async def decide(self) -> None:
        number = 0
        while not self.stopped.is_set():
            entries = [lived("s", number), said(number, "bob")]
            outcome = await self.publisher.commit(entries)
            self.told |= {entry.headers[MSG_ID]: outcome for entry in entries}
            number += 1

    async def count(self) -> None:
        """A counter with one writer: nobody else is there to be first."""
        revision = await self.config.create("counter", b"0")
        number = 0
        while not self.stopped.is_set():
            number += 1
            revision = await self.config.update("counter", b"%d" % number, revision)

    def _post(self, number: int) -> None:
        entry = said(number)

        def done(outcome: Stored | BackchannelError) -> None:
            self.told[entry.headers[MSG_ID]] = outcome

        self.publisher.post(entry, done)


async def test_the_end_of_a_leader_loses_repeats_and_reorders_nothing(cluster: Cluster) -> None:
    short = os.environ.get("BACKCHANNEL_CAMPAIGN") == "short"
    ways = [signal.SIGKILL, signal.SIGTERM] * (1 if short else 4)
    async with await Connection.open(cluster.address, name="test", wait=60) as connection:
        await provisioned(connection)
        got: list[Record] = []
        tail = Tail(connection, STREAM, after=0, on_record=got.append)
        await tail.start()
        writers = Writers(connection)
        writing = [asyncio.create_task(w()) for w in (writers.talk, writers.decide, writers.count)]
        for way in ways:
            before = len(writers.told)
            await eventually(lambda: len(writers.told) > before + 1000, 60)  # noqa: B023
            leader = await leader_of(connection, STREAM)
            await cluster.end(leader, way)
            before = len(writers.told)
            await eventually(lambda: len(writers.told) > before + 1000, 60)  # noqa: B023
            cluster.start(leader)
        writers.stopped.set()
        await asyncio.gather(*writing)
        facts = await describe(connection, STREAM)
        await tail.reached(facts.last, 60)
        await tail.stop()
    assert [record.sequence for record in got] == list(range(1, facts.last + 1))
    named = [(record.headers or {})[MSG_ID] for record in got]
    assert len(named) == len(set(named))
    assert set(named) == set(writers.told)
    assert [outcome for outcome in writers.told.values() if not isinstance(outcome, Stored)] == []


async def test_without_a_majority_nothing_is_promised(cluster: Cluster) -> None:
    async with await Connection.open(cluster.address, name="test", wait=60) as connection:
        await provisioned(connection)
        leader = await leader_of(connection, STREAM)
        for name in [name for name in cluster.running if name != leader]:
            await cluster.end(name, signal.SIGKILL)
        with pytest.raises(Unavailable):
            await Publisher(connection, deadline=3.0).store(said(1))
        for name in ("n0", "n1", "n2"):
            if name not in cluster.running:
                cluster.start(name)
        stored = await Publisher(connection, deadline=60.0).store(said(1))
        assert stored.sequence == 1
        assert (await describe(connection, STREAM)).messages == 1
