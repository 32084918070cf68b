"""Buckets: compare and set holds, leases lapse, and a lapsed key is as absent as one that never was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from backchannel.errors import Conflict
from backchannel.jetstream.bucket import Bucket, Value
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.embedded import Server
from backchannel.jetstream.tail import Tail
from tests.jetstream.faults import PATIENCE, crash, eventually


@pytest.fixture
def agents(log: Connection) -> Bucket:
    return Bucket(log, "BC_agents")


@pytest.fixture
def presence(log: Connection) -> Bucket:
    return Bucket(log, "BC_presence")


class Watched:
    """What a watch has told, and as of now."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bytes | None]] = []
        self.now: dict[str, bytes] = {}

    def hear(self, key: str, value: Value | None) -> None:
        self.told.append((key, value.payload if value else None))
        self.now.pop(key, None)
        if value is not None:
            self.now[key] = value.payload


@pytest.fixture
async def tails() -> AsyncIterator[list[Tail]]:
    started: list[Tail] = []
    yield started
    for tail in started:
        await tail.stop()


async def test_a_value_can_be_written_read_and_deleted(agents: Bucket) -> None:
    assert await agents.get("main.alice") is None
    revision = await agents.put("main.alice", b"1")
    assert await agents.get("main.alice") == Value(b"1", revision)
    await agents.delete("main.alice")
    assert await agents.get("main.alice") is None
    assert await agents.entries() == []


async def test_only_one_creates_and_only_the_latest_revision_updates(agents: Bucket) -> None:
    revision = await agents.create("main.alice", b"1")
    with pytest.raises(Conflict):
        await agents.create("main.alice", b"2")
    later = await agents.update("main.alice", b"2", revision)
    with pytest.raises(Conflict):
        await agents.update("main.alice", b"3", revision)
    assert await agents.get("main.alice") == Value(b"2", later)


async def test_a_deleted_key_can_be_created_again(agents: Bucket) -> None:
    for number in range(3):
        await agents.create("main.alice", b"%d" % number)
        await agents.delete("main.alice")
    await agents.create("main.alice", b"last")
    found = await agents.get("main.alice")
    assert found is not None
    assert found.payload == b"last"


async def test_of_two_processes_that_claim_one_key_exactly_one_wins(
    nats_server: Server, log: Connection
) -> None:
    async with await Connection.open(nats_server.address(), name="other") as other:
        buckets = [Bucket(log, "BC_presence"), Bucket(other, "BC_presence")]

        async def claim(bucket: Bucket, who: int) -> bool:
            try:
                await bucket.create("main.lead", b"%d" % who, ttl=30)
            except Conflict:
                return False
            return True

        won = await asyncio.gather(*(claim(buckets[who % 2], who) for who in range(10)))
        assert sum(won) == 1
        found = await buckets[0].get("main.lead")
        assert found is not None
        assert won[int(found.payload)]


async def test_a_lease_that_is_not_renewed_lapses_and_is_told(presence: Bucket, tails: list[Tail]) -> None:
    watched = Watched()
    tails.append(await presence.watch("main.>", watched.hear))
    await presence.put("main.alice.1", b"here", ttl=3)
    renewed = await presence.put("main.bob.1", b"here", ttl=3)
    await eventually(lambda: set(watched.now) == {"main.alice.1", "main.bob.1"})
    renewed = await presence.update("main.bob.1", b"still here", renewed, ttl=60)
    await eventually(lambda: "main.alice.1" not in watched.now)
    assert watched.told[-1] == ("main.alice.1", None)
    assert await presence.get("main.alice.1") is None
    assert await presence.entries() == [("main.bob.1", Value(b"still here", renewed))]
    await presence.create("main.alice.1", b"back", ttl=60)
    await eventually(lambda: watched.now.get("main.alice.1") == b"back")


async def test_a_lease_lapses_while_the_server_is_down(
    nats_server: Server, presence: Bucket, tails: list[Tail]
) -> None:
    watched = Watched()
    tails.append(await presence.watch(">", watched.hear))
    await presence.put("main.alice.1", b"here", ttl=2)
    await eventually(lambda: watched.now)
    nats_server.kill()
    await nats_server.wait()
    await asyncio.sleep(2.1)
    await nats_server.start()
    await eventually(lambda: not watched.now)
    assert await presence.entries() == []


async def test_more_keys_than_one_answer_holds_are_all_listed(agents: Bucket) -> None:
    for start in range(0, 1500, 250):
        await asyncio.gather(*(agents.put(f"main.a{number}", b"") for number in range(start, start + 250)))
    await agents.put("other.b", b"")
    assert len(await agents.entries()) == 1501
    listed = await agents.entries("main.*")
    assert {key for key, _ in listed} == {f"main.a{number}" for number in range(1500)}


async def test_of_a_history_only_the_latest_value_is_listed(log: Connection) -> None:
    config = Bucket(log, "BC_config")
    for number in range(5):
        await config.put("curator.ack_timeout", b"%d" % number)
    [(key, value)] = await config.entries()
    assert (key, value.payload) == ("curator.ack_timeout", b"4")


async def test_a_watch_tells_what_is_there_before_it_returns(agents: Bucket, tails: list[Tail]) -> None:
    for name in ("alice", "bob", "carol"):
        await agents.put(f"main.{name}", name.encode())
    await agents.delete("main.bob")
    watched = Watched()
    tails.append(await agents.watch(">", watched.hear))
    assert watched.now == {"main.alice": b"alice", "main.carol": b"carol"}


async def test_a_watch_survives_kill_9_of_the_server(
    nats_server: Server, agents: Bucket, tails: list[Tail]
) -> None:
    watched = Watched()
    tails.append(await agents.watch(">", watched.hear))
    for number in range(3):
        await agents.put("main.alice", b"%d" % number)
        await crash(nats_server)
    await eventually(lambda: watched.now.get("main.alice") == b"2", PATIENCE)


async def test_a_write_whose_answer_was_lost_is_no_conflict(log: Connection, agents: Bucket) -> None:
    revision = await agents.create("main.alice", b"0")
    for number in range(1, 6):
        writing = asyncio.create_task(agents.update("main.alice", b"%d" % number, revision))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # written to the socket; the answer will not be read
        log._keeper.wire.abort()  # type: ignore[union-attr]
        revision = await writing
    assert await agents.get("main.alice") == Value(b"5", revision)
