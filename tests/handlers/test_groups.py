"""Groups: handlers decide for those they serve, and leave the commands of others where they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pydantic_core

from backchannel.jetstream.address import Address
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.embedded import Server
from backchannel.jetstream.publish import Entry, Publisher
from backchannel.jetstream.read import last
from backchannel.jetstream.topology import provision
from backchannel.protocol.catalog import write
from backchannel.protocol.subject import COMMANDS, command_subject, events_stream, inbox_of
from backchannel.service.running import serve
from handlers.sidebar import service
from tests.build import message
from tests.eventually import eventually

WAIT = 60.0


@asynccontextmanager
async def handlers(address: Address, group: str) -> AsyncIterator[None]:
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(serve([service], address, [group], stop, ready.set))
    async with asyncio.timeout(WAIT):
        await ready.wait()
    try:
        yield
    finally:
        stop.set()
        await running


async def asked(connection: Connection, publisher: Publisher, group: str) -> None:
    await Bucket(connection, "BC_agents", publisher).put(
        f"{group}.ada", pydantic_core.to_json({"agent_id": "ada", "entity_type": "agent"})
    )
    command = message("sidebar_spawn", participants=[])
    subject = command_subject(group, "normal", "ada", command.type)
    await publisher.store(Entry(subject, write(command), {"Nats-Msg-Id": f"ada:{command.message_id}"}))


async def answered(connection: Connection, group: str) -> bool:
    return await last(connection, events_stream(group), inbox_of(group, "ada")) is not None


async def until_answered(connection: Connection, group: str) -> None:
    await eventually(lambda: answered(connection, group))


async def test_a_command_of_a_group_that_is_not_served_here_waits_for_who_serves_it(
    nats_server: Server, connection: Connection
) -> None:
    await provision(connection, ["red", "blue"])
    publisher = Publisher(connection)
    async with handlers(nats_server.address(), "red"):
        await asked(connection, publisher, "blue")
        await asked(connection, publisher, "red")
        await until_answered(connection, "red")
        assert not await answered(connection, "blue")
    async with handlers(nats_server.address(), "blue"):
        await until_answered(connection, "blue")
    assert await last(connection, COMMANDS, "bc.blue.cmd.>") is not None
    await publisher.close()
