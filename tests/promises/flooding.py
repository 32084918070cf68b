"""A client that keeps to the framing and to nothing else: it sends as much as it can of whatever it likes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
import zlib
from typing import Self
from urllib.parse import urlparse

from websockets.frames import CLOSE, Frame, Opcode

from tests.promises.running import WAIT, Platform

UNMASKING = bytes(4)
CHUNK = 1 << 20


def framed(opcode: Opcode, data: bytes, *, fin: bool = True, deflated: bool = False) -> bytes:
    """A frame as a client sends it, with the mask that changes nothing: quick to make."""
    head = bytearray(Frame(opcode, data, fin).serialize(mask=False)[: -len(data) or None])
    head[0] |= 0x40 if deflated else 0
    head[1] |= 0x80
    return bytes(head) + UNMASKING + data


def packed(data: bytes) -> bytes:
    """As RFC 7692 has it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")


class Flood:
    """One connection of an agent. What it is sent is read and thrown away, but for how it ends."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._tail = b""
        self._reading = asyncio.create_task(self._read())
        self.has_sent_all = False

    @classmethod
    async def begin(cls, platform: Platform, agent: str, *, deflate: bool = False) -> Self:
        place = urlparse(platform.ws)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        offer = "permessage-deflate; client_no_context_takeover; server_no_context_takeover"
        lines = [
            "GET /ws HTTP/1.1",
            f"Host: {place.netloc}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(secrets.token_bytes(16)).decode()}",
            f"Authorization: Bearer {platform.signed(agent)}",
            *([f"Sec-WebSocket-Extensions: {offer}"] if deflate else []),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        async with asyncio.timeout(WAIT):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            writer.write(framed(Opcode.TEXT, json.dumps({"type": "hello"}).encode()))
            await reader.readuntil(b'"type":"live"}')
        return cls(reader, writer)

    async def send(self, first: bytes, again: bytes, size: int) -> None:
        """Send so many bytes, or until the bridge has had enough."""
        chunk = again * max(1, CHUNK // len(again))
        self._writer.write(first)
        with contextlib.suppress(ConnectionError):
            for _ in range(-(-size // len(chunk))):
                self._writer.write(chunk)
                await self._writer.drain()
                if self._reading.done():
                    return
            self.has_sent_all = True

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await self._reader.read(1 << 20):
                self._tail = (self._tail + piece)[-512:]

    @property
    def code(self) -> int | None:
        """Why the bridge closed it; None if it has not."""
        place = self._tail.rfind(bytes([0x80 | CLOSE]))
        return (
            int.from_bytes(self._tail[place + 2 : place + 4]) if self._reading.done() and place >= 0 else None
        )

    async def closed(self) -> int | None:
        """Wait until the bridge closes it; why it did."""
        async with asyncio.timeout(WAIT):
            await self._reading
        return self.code

    async def end(self) -> None:
        self._writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self._reading
