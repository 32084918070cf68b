"""A client as strangers write one: the websockets library, JSON, and nothing of ours but the words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.build import content

PATIENCE = 60.0
Frame = dict[str, Any]


async def eventually(condition: Callable[[], Any], patience: float = PATIENCE) -> None:
    """Wait for something in this process that tells nobody."""
    for _ in range(int(patience / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("It did not come to that.")


class Client:
    """One connection. What comes in is kept: `frames` as it came, `events` taken out of them in order."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.frames: list[Frame] = []
        self.events: list[Frame] = []
        self.welcome: Frame = {}
        self._changed = asyncio.Event()
        self._ended = False
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for raw in self.socket:
                self._take(json.loads(raw))
        except ConnectionClosed:
            pass
        finally:
            self._ended = True
            self._changed.set()

    def _take(self, frame: Frame) -> None:
        self.frames.append(frame)
        if frame["type"] == "catch_up":
            self.events.extend(frame["events"])
        elif "cursor" in frame and frame["type"] not in ("welcome", "accepted", "position"):
            self.events.append(frame)
        self._changed.set()

    async def until(self, condition: Callable[[Client], Any], patience: float = PATIENCE) -> Any:
        """What the condition finds, as soon as it finds something."""
        async with asyncio.timeout(patience):
            while not (found := condition(self)):
                if self._ended:
                    raise AssertionError(
                        f"closed with {self.socket.close_code}; {str(self.frames[-3:])[:2000]}"
                    )
                self._changed.clear()
                await self._changed.wait()
        return found

    async def hello(self, **fields: Any) -> Frame:
        """Say hello, and wait for the welcome."""
        await self.raw({"type": "hello", **fields})
        self.welcome = await self.frame("welcome")
        return self.welcome

    async def live(self, **fields: Any) -> Frame:
        """Say hello, and wait until catching up is over."""
        await self.hello(**fields)
        await self.frame("live")
        return self.welcome

    async def frame(self, kind: str) -> Frame:
        found: Frame = await self.until(
            lambda one: next((frame for frame in one.frames if frame["type"] == kind), None)
        )
        return found

    async def raw(self, body: Any) -> None:
        await self.socket.send(body if isinstance(body, str | bytes) else json.dumps(body))

    async def send(self, kind: str, **fields: Any) -> str:
        """Send a message; its id."""
        message = content(kind, **fields)
        await self.raw(message)
        return str(message["message_id"])

    async def answer(self, message_id: str) -> Frame:
        """The first answer that names a message."""

        def answers(frame: Frame) -> bool:
            return message_id in (frame.get("in_reply_to"), frame.get("original_message_id"))

        found: Frame = await self.until(
            lambda one: next((frame for frame in one.frames if answers(frame)), None)
        )
        return found

    async def ask(self, kind: str, **fields: Any) -> Frame:
        """Send a message and wait for its answer."""
        return await self.answer(await self.send(kind, **fields))

    async def remember(self, text: str, context_id: str = "main", **fields: Any) -> Frame:
        return await self.ask("memory_update", context_id=context_id, exchange={"content": text}, **fields)

    async def hears(self, message_id: str) -> Frame:
        """The event with this id."""
        found: Frame = await self.until(
            lambda one: next((event for event in one.events if event.get("message_id") == message_id), None)
        )
        return found

    async def alive(self) -> None:
        """A round trip through the session."""
        before = sum(frame["type"] == "pong" for frame in self.frames)
        await self.raw({"type": "ping"})
        await self.until(lambda one: sum(frame["type"] == "pong" for frame in one.frames) > before)

    async def closed(self, patience: float = PATIENCE) -> int | None:
        """The close code."""
        async with asyncio.timeout(patience):
            await asyncio.wait([self._reading])
        return self.socket.close_code

    @property
    def texts(self) -> list[Any]:
        """What was said in memory updates and sidebars, in the order in which it was heard."""
        return [_text(event) for event in self.events if _text(event) is not None]

    async def leave(self) -> None:
        await self.socket.close()
        await self.closed()

    def vanish(self) -> None:
        """The machine is gone: no close, no goodbye."""
        self.socket.transport.abort()


def _text(event: Frame) -> Any:
    return event["exchange"]["content"] if event["type"] == "memory_update" else event.get("content")


@asynccontextmanager
async def client(url: str, token: str, **options: Any) -> AsyncIterator[Client]:
    """A connection with a token in its header."""
    options.setdefault("additional_headers", {"X-Memory-Auth": token} if token else {})
    async with connect(
        url, open_timeout=PATIENCE, close_timeout=5, compression=None, max_size=None, **options
    ) as socket:
        yield Client(socket)
