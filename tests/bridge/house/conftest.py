"""A platform without handlers: a nats-server, its streams, and one bridge or several."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pydantic_core
import pytest

from backchannel.delivery import token as tokens
from backchannel.home.settings import seal_key
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.embedded import Server
from backchannel.jetstream.publish import Entry, Publisher, Stored
from backchannel.jetstream.read import Record, describe, page
from backchannel.jetstream.topology import provision
from backchannel.protocol.subject import InContext, events_stream
from backchannel.service.keyring import Keyring
from bridge.config import Config
from bridge.host import Site
from bridge.house import House
from bridge.http import Pages
from bridge.metrics import Metrics
from bridge.port import Port
from bridge.upgrade import Gate, own_origins
from tests.bridge.house.client import PATIENCE, Client, client
from tests.build import content

KEY = b"k" * 32
GROUPS = ("main", "other")


def token(entity: str, *, lifetime: int = 3600, **fields: Any) -> str:
    now = int(time.time())
    claims = tokens.draft(entity, now=now, lifetime=lifetime, jti=f"{entity}-{now}", fields=fields)
    return tokens.sign(claims, KEY)


class Bridge:
    """One bridge in this process, on a port of its own."""

    def __init__(self, house: House, port: Port, number: int) -> None:
        self.house = house
        self.port = port
        self.number = number
        self.url = f"ws://127.0.0.1:{number}/ws"
        self._open = True

    @classmethod
    async def open(cls, server: Server, **changes: Any) -> Bridge:
        config = replace(Config(heartbeat_seconds=3600.0, groups=GROUPS), **changes)
        metrics, site = Metrics(), Site()
        sock = socket.create_server(("127.0.0.1", 0))
        number = sock.getsockname()[1]
        keyring = Keyring(KEY, time.time, config.groups, nonce_needed=not config.bearer_tokens)
        gate = Gate(keyring, own_origins("127.0.0.1", number))
        port = Port(config, metrics, site, gate, Pages(config, metrics, site, gate).app())
        await port.open(sock)
        async with asyncio.timeout(PATIENCE):
            site.host = house = await House.open(
                server.address(), config, metrics, gate, seals=(seal_key(KEY),)
            )
        return cls(house, port, number)

    async def close(self) -> None:
        if self._open:
            self._open = False
            await self.port.close("The test is over.", 5.0)
            await self.house.close()


class Platform:
    """What a test needs of a platform."""

    def __init__(self, server: Server, connection: Connection) -> None:
        self.server = server
        self.connection = connection
        self.publisher = Publisher(connection)
        self.bridges: list[Bridge] = []
        self._clients = AsyncExitStack()

    async def bridge(self, **changes: Any) -> Bridge:
        """One more bridge."""
        self.bridges.append(await Bridge.open(self.server, **changes))
        return self.bridges[-1]

    async def connect(self, agent: str, *, bridge: int = 0, **fields: Any) -> Client:
        """A connection that has not said hello yet."""
        url = self.bridges[bridge].url
        return await self._clients.enter_async_context(client(url, token(agent, **fields)))

    async def agent(self, name: str, *, claims: dict[str, Any] | None = None, **hello: Any) -> Client:
        """A connection that is live."""
        found = await self.connect(name, **(claims or {}))
        await found.live(**hello)
        return found

    async def known(self, *agents: str) -> None:
        """Make agents known that have never been here."""
        for name in agents:
            key = f"$KV.BC_agents.main.{name}"
            entry = {"agent_id": name, "entity_type": "agent", "specialties": []}
            await self.publisher.store(Entry(key, pydantic_core.to_json(entry), {}))

    async def life(self, sidebar: str, members: list[str], status: str = "active", **fields: Any) -> Stored:
        """An event in a sidebar's life, as a handler would store it."""
        event = content(
            "sidebar_status_update", sidebar_id=sidebar, new_status=status, status=status, members=members
        )
        return await self.store(InContext(sidebar, "life").subject("main", "normal"), event | fields)

    async def store(self, subject: str, event: dict[str, Any], **headers: str) -> Stored:
        ids = {"Nats-Msg-Id": f"test:{event['message_id']}"}
        return await self.publisher.store(Entry(subject, pydantic_core.to_json(event), ids | headers))

    async def log(self, group: str = "main") -> list[Record]:
        """Everything that is stored, but the mark with which every log begins."""
        facts = await describe(self.connection, events_stream(group))
        found: list[Record] = []
        position = 0
        while position < facts.last:
            part = await page(self.connection, events_stream(group), position, limit=1000, until=facts.last)
            found.extend(part.records)
            position = part.last_sequence_scanned
        return [record for record in found if not record.subject.endswith(".timer.order.beginning")]

    async def close(self) -> None:
        await self._clients.aclose()
        for bridge in self.bridges:
            await bridge.close()
        await self.publisher.close()


@pytest.fixture
async def bare(nats_server: Server, connection: Connection) -> AsyncIterator[Platform]:
    """A platform without a bridge."""
    await provision(connection, GROUPS)
    platform = Platform(nats_server, connection)
    yield platform
    with contextlib.suppress(TimeoutError):
        await platform.close()


@pytest.fixture
async def platform(bare: Platform) -> Platform:
    """A platform with one bridge."""
    await bare.bridge()
    return bare
