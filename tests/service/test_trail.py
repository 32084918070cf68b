"""Records reach the primary copy in one unbroken chain, once each, whoever writes and whatever dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest

from backchannel.domain.audit import GENESIS, Link, read_link
from backchannel.errors import Unavailable
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.embedded import Server
from backchannel.jetstream.read import page
from backchannel.jetstream.topology import provision
from backchannel.service.trail import Deed, Trail


@pytest.fixture
async def trail(nats_server: Server, connection: Connection) -> AsyncIterator[Trail]:
    await provision(connection, ["main", "other"])
    opened = Trail(connection, source="test")
    yield opened
    await opened.close(0.1)


def deed(number: int | str, group: str = "main", entity: str = "alice") -> Deed:
    return Deed(group, "tool", entity, "execute", {"number": number}, id=f"{group}-{entity}-{number}")


async def kept(connection: Connection, group: str = "main") -> list[Link]:
    """All records of a group; every one of them is read, in its place and behind the one before it."""
    found: list[Link] = []
    after, done = 0, False
    while not done:
        part = await page(connection, "BC_AUDIT", after, filter=f"bc.{group}.audit.>")
        found += [read_link(record.payload) for record in part.records]
        after, done = part.last_sequence_scanned, part.done
    hashes = [GENESIS, *(link.hash for link in found)]
    assert [link.position for link in found] == list(range(1, len(found) + 1))
    assert [link.previous for link in found] == hashes[:-1]
    return found


def ids(links: Sequence[Link]) -> list[str]:
    return [link.id for link in links]


async def test_what_is_written_is_there_when_the_writer_goes_on(trail: Trail, connection: Connection) -> None:
    first = await trail.write(deed(1))
    second = await trail.write(deed(2))
    links = await kept(connection)
    assert [first.hash, second.hash] == [link.hash for link in links]
    assert (first.position, second.position) == (1, 2)
    assert links[0].fields["facts"] == {"number": 1}


async def test_many_writers_share_commits_and_keep_their_order(trail: Trail, connection: Connection) -> None:
    written = await asyncio.gather(*(trail.write(deed(number)) for number in range(1200)))
    assert [place.position for place in written] == list(range(1, 1201))
    assert ids(await kept(connection)) == [f"main-alice-{number}" for number in range(1200)]


async def test_every_group_has_a_chain_of_its_own(trail: Trail, connection: Connection) -> None:
    await asyncio.gather(*(trail.write(deed(n, group)) for n in range(50) for group in ("main", "other")))
    assert len(await kept(connection)) == len(await kept(connection, "other")) == 50


async def test_two_processes_cannot_fork_the_chain(
    nats_server: Server, trail: Trail, connection: Connection
) -> None:
    async with AsyncExitStack() as stack:
        trails = [trail]
        for name in ("second", "third"):
            other = await stack.enter_async_context(await Connection.open(nats_server.address(), name=name))
            trails.append(Trail(other, source=name))
        await asyncio.gather(
            *(one.write(deed(f"{who}-{n}")) for who, one in enumerate(trails) for n in range(150))
        )
        for one in trails[1:]:
            await one.close()
    found = ids(await kept(connection))
    assert len(found) == len(set(found)) == 450


async def test_handing_it_in_again_keeps_it_once(trail: Trail, connection: Connection) -> None:
    first = await trail.write(deed(1))
    await trail.write(deed(2))
    again = await asyncio.gather(*(trail.write(deed(number)) for number in (1, 3, 1, 4)))
    assert again[0] == again[2] == first
    assert ids(await kept(connection)) == [f"main-alice-{number}" for number in (1, 2, 3, 4)]


async def test_a_killed_server_loses_no_record_and_doubles_none(
    nats_server: Server, trail: Trail, connection: Connection
) -> None:
    written: list[int] = []

    async def writes(number: int) -> None:
        await trail.write(deed(number))
        written.append(number)

    async with asyncio.TaskGroup() as writers:
        for number in range(600):
            writers.create_task(writes(number))
            trail.note(deed(number, entity="noted"))
            if number in (200, 400):
                await asyncio.sleep(0)
                nats_server.kill()
                await nats_server.wait()
                await nats_server.start()
    assert await trail.settled(60)
    found = ids(await kept(connection))
    assert sorted(found) == sorted(set(found))
    assert {f"main-alice-{number}" for number in written} <= set(found)
    assert {f"main-noted-{number}" for number in range(600)} <= set(found)


async def test_what_cannot_be_written_is_refused(nats_server: Server, connection: Connection) -> None:
    await provision(connection, ["main"])
    trail = Trail(connection, source="test", patience=0.3)
    nats_server.kill()
    await nats_server.wait()
    with pytest.raises(Unavailable):
        await trail.write(deed(1))
    await trail.close(0)


async def test_what_is_noted_beyond_the_bound_is_counted_and_the_count_is_a_record(
    nats_server: Server, connection: Connection
) -> None:
    await provision(connection, ["main"])
    trail = Trail(connection, source="test", most_waiting=10)
    for number in range(25):
        trail.note(deed(number))
    assert trail.facts()["dropped"] == 15
    assert await trail.settled(60)
    trail.note(deed("later"))
    await trail.close()
    links = await kept(connection)
    assert ids(links)[:10] == [f"main-alice-{number}" for number in range(10)]
    assert (links[10].fields["action"], links[10].fields["facts"]) == ("records_dropped", {"count": 15})
    assert links[11].id == "main-alice-later"


async def test_a_name_that_is_no_identifier_is_kept_as_a_fact(trail: Trail, connection: Connection) -> None:
    await trail.write(Deed("main", "security", "no > name", "refused"))
    (link,) = await kept(connection)
    assert link.fields["entity"] == "unknown"
    assert link.fields["facts"] == {"said_entity": "no > name"}


async def test_the_chain_goes_on_behind_what_is_not_ours(
    nats_server: Server, trail: Trail, connection: Connection
) -> None:
    await trail.write(deed(1))
    await connection.request("bc.main.audit.tool.alice", b"not a record")
    other = Trail(connection, source="other")
    second = await other.write(deed(2))
    assert (second.position, second.sequence) == (2, 3)
    await other.close()
