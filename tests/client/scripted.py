"""A platform in one file on a real socket: it speaks the wire protocol and follows a test's script."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

Frame = dict[str, Any]
WAIT = 60.0
NOW = "2026-01-31T12:00:00.000Z"


def said(sender: str, number: int, **fields: Any) -> Frame:
    """A memory update in main, as an agent would send it."""
    return {
        "type": "memory_update",
        "message_id": str(uuid4()),
        "timestamp": NOW,
        "sender_agent_id": sender,
        "context_id": "main",
        "exchange": {"content": f"{number}"},
        **fields,
    }


@dataclass
class ScriptedBridge:
    """The log, who stands where, and the script.

    Attributes:
        on_frame: asked first about every frame after hello; True means that it took care of it.
        refusals: HTTP answers for the next upgrades.
        welcomes: fields laid over the next welcomes.
    """

    epoch: str = "0000aaaa"
    log: list[Frame] = field(default_factory=list)
    acked: int = 0
    hellos: list[Frame] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    acks: list[str] = field(default_factory=list)
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    welcomes: list[Frame] = field(default_factory=list)
    on_frame: Callable[[ServerConnection, Frame], Any] | None = None
    url: str = ""
    connections: set[ServerConnection] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def publish(self, *events: Frame) -> list[str]:
        """Put events into the log and send them to everyone."""
        cursors = [self.append(event) for event in events]
        for connection in tuple(self.connections):
            for event in self.log[-len(events) :] if events else ():
                await quietly(connection, event)
        return cursors

    def append(self, event: Frame) -> str:
        cursor = f"{self.epoch}.{len(self.log) + 1}"
        self.log.append({**event, "cursor": cursor})
        return cursor

    async def until(self, condition: Callable[[], bool], seconds: float = WAIT) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def drop(self) -> None:
        """Cut every connection as a broken network would."""
        for connection in tuple(self.connections):
            connection.transport.abort()
            await connection.wait_closed()

    async def close(self, code: int, reason: str = "") -> None:
        for connection in tuple(self.connections):
            await connection.close(code, reason)

    def refuse(self, connection: ServerConnection, request: Request) -> Response | None:
        self.tokens.append(request.headers.get("Authorization", "").removeprefix("Bearer "))
        self.changed.set()
        if not self.refusals:
            return None
        status, headers = self.refusals.pop(0)
        answer = connection.respond(HTTPStatus(status), "refused\n")
        for name, value in headers.items():
            answer.headers[name] = value
        return answer

    async def serve_one(self, connection: ServerConnection) -> None:
        hello = json.loads(await connection.recv())
        self.hellos.append(hello)
        assert connection.request is not None
        agent = connection.request.headers["Authorization"].removeprefix("Bearer ").split(":")[0]
        start = self._start(hello)
        await quietly(connection, self._welcome(agent, hello, len(self.log) - start))
        for event in self.log[start:]:
            await quietly(connection, {"type": "catch_up", "events": [event], "remaining": 0})
        await quietly(connection, {"type": "live"})
        self.connections.add(connection)
        self.changed.set()
        try:
            with suppress(ConnectionClosed):
                async for raw in connection:
                    await self._take(connection, agent, json.loads(raw))
        finally:
            self.connections.discard(connection)
            self.changed.set()

    def _start(self, hello: Frame) -> int:
        cursor = (hello.get("resume") or {}).get("cursor")
        return int(cursor.partition(".")[2]) if cursor and cursor.startswith(self.epoch) else self.acked

    def _welcome(self, agent: str, hello: Frame, replaying: int) -> Frame:
        return {
            "type": "welcome",
            "protocol": "backchannel.v1",
            "connection_id": uuid4().hex,
            "agent_id": agent,
            "group": "main",
            "permission": hello.get("permission", "active"),
            "session": f"session-{len(self.hellos)}",
            "cursor": f"{self.epoch}.{len(self.log)}",
            "resumed": "resume" in hello,
            "outcome": "resumed" if "resume" in hello or self.acked else "live_only",
            "replaying": replaying,
            "limits": {"max_message_bytes": 1 << 20, "messages_per_second": 1000, "queue": 200},
            "heartbeat_seconds": 30,
            "server_time": NOW,
            **(self.welcomes.pop(0) if self.welcomes else {}),
        }

    async def _take(self, connection: ServerConnection, agent: str, frame: Frame) -> None:
        self.frames.append(frame)
        self.changed.set()
        if self.on_frame is not None and await self.on_frame(connection, frame):
            return
        match frame:
            case {"type": "ack", "cursor": cursor}:
                self.acks.append(cursor)
                self.acked = int(cursor.partition(".")[2])
            case {"type": "renew"}:
                pass
            case {"message_id": message_id}:
                await self.store(connection, agent, frame, message_id)

    async def store(self, connection: ServerConnection, agent: str, frame: Frame, message_id: str) -> None:
        if message_id in self.stored:
            told = {"type": "duplicate_ack", "original_message_id": message_id, "message": "again"}
            await quietly(connection, told)
            return
        self.stored.add(message_id)
        cursor = self.append({**frame, "sender_agent_id": agent})
        await quietly(connection, {"type": "accepted", "in_reply_to": message_id, "cursor": cursor})
        await quietly(connection, self.log[-1])

    async def result(self, connection: ServerConnection, command: Frame, **fields: Any) -> None:
        """The outcome of a command, as an inbox event."""
        event = {
            "type": "result",
            "message_id": str(uuid4()),
            "timestamp": NOW,
            "sender_agent_id": "platform",
            "in_reply_to": command["message_id"],
            "status": "success",
            **fields,
        }
        self.append(event)
        await quietly(connection, self.log[-1])

    def of_type(self, kind: str) -> list[Frame]:
        return [frame for frame in self.frames if frame["type"] == kind]


async def quietly(connection: ServerConnection, frame: Frame) -> None:
    """Send, whether or not anybody is there any more."""
    with suppress(ConnectionClosed):
        await connection.send(json.dumps(frame))


@asynccontextmanager
async def scripted(**fields: Any) -> AsyncIterator[ScriptedBridge]:
    bridge = ScriptedBridge(**fields)
    async with serve(
        bridge.serve_one, "127.0.0.1", 0, process_request=bridge.refuse, close_timeout=1, compression=None
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        bridge.url = f"ws://127.0.0.1:{port}/ws"
        yield bridge
