"""A real port on a real socket, with a small host behind it that writes down what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import uvloop
from websockets.asyncio.client import ClientConnection, connect

from backchannel.delivery import token as tokens
from backchannel.errors import BackchannelError
from backchannel.protocol.claims import Claims
from backchannel.service.keyring import Keyring
from bridge.config import Config
from bridge.host import Site
from bridge.http import Pages
from bridge.metrics import Metrics
from bridge.port import Port
from bridge.upgrade import Gate, own_origins
from bridge.wire import Wire

KEY = b"k" * 32
PATIENCE = 60.0
BOTH_LOOPS = ("test_port", "test_upgrade", "test_http", "test_wire")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The bridge runs on uvloop, or on asyncio where there is none: what touches sockets is tried on both."""
    uv = {"uvloop": uvloop.new_event_loop}
    module = item.nodeid.partition("::")[0].rpartition("/")[2].removesuffix(".py")
    return uv | {"asyncio": asyncio.new_event_loop} if module in BOTH_LOOPS else uv


class Witness:
    """A peer that notes everything; what it does on a message is up to the test."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.messages: list[bytes] = []
        self.binary_messages = 0
        self.round_trips: list[float] = []
        self.codes: list[int] = []
        self.writable_again = 0
        self.on_message: Callable[[bytes], None] = lambda body: None
        self._changed = asyncio.Event()

    def received(self, body: bytes) -> None:
        self.messages.append(body)
        self._changed.set()
        self.on_message(body)

    def received_binary(self) -> None:
        self.binary_messages += 1
        self._changed.set()

    def writable(self) -> None:
        self.writable_again += 1
        self._changed.set()

    def beat(self, missed: int) -> None: ...

    def ponged(self, seconds: float) -> None:
        self.round_trips.append(seconds)
        self._changed.set()

    def lost(self, code: int) -> None:
        self.codes.append(code)
        self._changed.set()

    async def until(self, condition: Callable[[Witness], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()

    async def gone(self) -> int:
        await self.until(lambda one: bool(one.codes))
        return self.codes[0]


class Hotel:
    """A host that admits everybody and stores nothing."""

    def __init__(self, heartbeat_seconds: float) -> None:
        self.ready = True
        self.heartbeat_seconds = heartbeat_seconds
        self.peers: list[Witness] = []
        self.charged: list[tuple[tuple[str, str], int]] = []
        self.stored: list[tuple[Claims, dict[str, Any]]] = []
        self.outcome: tuple[Any, ...] | BackchannelError = ("full", "0000abcd.7", "active")
        self.parts: dict[str, Any] = {
            "nats": {"up": True},
            "log": {"main": {"live": True, "lag": 0}},
            "handlers": {"answering": True},
            "ring": {"events": 0, "bytes": 0},
        }
        self.on_admit: Callable[[Witness], None] = lambda peer: None
        self._changed = asyncio.Event()

    def facts(self) -> dict[str, Any]:
        return self.parts

    def admit(self, wire: Wire) -> Witness:
        peer = Witness(wire)
        self.peers.append(peer)
        self.on_admit(peer)
        self._changed.set()
        return peer

    def charge(self, owner: tuple[str, str], size: int) -> None:
        self.charged.append((owner, size))

    async def fresh(self) -> None:
        """It was never stopped."""

    async def spend(self, claims: Claims) -> bool:
        return True

    async def store(self, claims: Claims, content: dict[str, Any], paid: int) -> tuple[Any, ...]:
        self.stored.append((claims, content))
        if isinstance(self.outcome, BackchannelError):
            raise self.outcome
        return self.outcome

    async def guest(self, number: int = 0) -> Witness:
        """The peer of the connection that came as number so and so."""
        async with asyncio.timeout(PATIENCE):
            while len(self.peers) <= number:
                self._changed.clear()
                await self._changed.wait()
        return self.peers[number]


class Running:
    """A port that listens, and ways to reach it."""

    def __init__(self, port: Port, hotel: Hotel, site: Site, metrics: Metrics, number: int) -> None:
        self.port = port
        self.hotel = hotel
        self.site = site
        self.metrics = metrics
        self.number = number
        self.url = f"ws://127.0.0.1:{number}/ws"
        self.origin = f"http://127.0.0.1:{number}"

    def token(self, entity: str = "scout", *, lifetime: int = 3600, key: bytes = KEY, **fields: Any) -> str:
        now = int(time.time())
        claims = tokens.draft(entity, now=now, lifetime=lifetime, jti=f"{entity}-{now}", fields=fields)
        return tokens.sign(claims, key)

    @contextlib.asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[ClientConnection]:
        """A client of the websockets library, which nobody here wrote."""
        options.setdefault("additional_headers", {"X-Memory-Auth": self.token()})
        options.setdefault("compression", None)
        async with connect(self.url, open_timeout=PATIENCE, close_timeout=PATIENCE, **options) as client:
            yield client

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.open_connection("127.0.0.1", self.number)

    async def exchange(self, request: bytes) -> bytes:
        """Everything that comes back for some bytes, until the bridge closes."""
        reader, writer = await self.dial()
        writer.write(request)
        try:
            return await read_all(reader)
        finally:
            await hang_up(writer)

    def handshake(self, *headers: str, target: str = "/ws", method: str = "GET") -> bytes:
        lines = [
            f"{method} {target} HTTP/1.1",
            "Host: localhost",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            *headers,
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    async def upgrade(self, *headers: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A raw socket that has been through the handshake."""
        reader, writer = await self.dial()
        writer.write(self.handshake(f"X-Memory-Auth: {self.token()}", *headers))
        head = await read_head(reader)
        assert head.startswith(b"HTTP/1.1 101 "), head
        return reader, writer


async def read_head(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE):
        return await reader.readuntil(b"\r\n\r\n")


async def read_all(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE):
        return await reader.read()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError, BrokenPipeError):
        await writer.wait_closed()


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


Opener = Callable[..., Awaitable[Running]]


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    """Opens ports with the given changes to the settings, and closes them afterwards."""
    running: list[Running] = []

    async def open_port(tls: ssl.SSLContext | None = None, **changes: Any) -> Running:
        config = replace(Config(heartbeat_seconds=3600.0), **changes)
        sock = socket.create_server(("127.0.0.1", 0))
        number = sock.getsockname()[1]
        metrics, site, hotel = Metrics(), Site(), Hotel(config.heartbeat_seconds)
        site.host = hotel
        origins = [*own_origins("127.0.0.1", number), *config.allowed_origins]
        gate = Gate(Keyring(KEY, time.time, config.groups), origins)
        port = Port(config, metrics, site, gate, Pages(config, metrics, site, gate).app())
        await port.open(sock, tls)
        running.append(Running(port, hotel, site, metrics, number))
        return running[-1]

    yield open_port
    for one in running:
        await one.port.close("The test is over.", PATIENCE)


@pytest.fixture
async def bridge(opened: Opener) -> Running:
    """A port with ordinary settings."""
    return await opened()
