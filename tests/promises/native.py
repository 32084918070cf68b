"""An agent that speaks NATS itself, with nothing but the client library of NATS."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Self

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.client import JetStreamContext

from tests.build import content

Frame = dict[str, Any]
WAIT = 60


def _let_go(client: Client) -> None:
    """The library leaves the socket of a refused attempt open."""
    if client._transport is not None:
        client._transport.close()
        if client._transport._io_writer is not None:
            client._transport._io_writer.transport.abort()


class Native:
    """A connection, and what came over it."""

    def __init__(
        self, client: Client, name: str, complaints: asyncio.Queue[str], group: str = "main"
    ) -> None:
        self.client = client
        self.name = name
        self.group = group
        self.complaints = complaints
        self.closed = asyncio.Event()
        self.frames: list[Frame] = []
        self._pulls: JetStreamContext.PullSubscription | None = None

    @classmethod
    async def enter(cls, url: str, name: str, token: str, **more: Any) -> Self:
        """Raises whatever the client library makes of a refusal."""
        complaints: asyncio.Queue[str] = asyncio.Queue()

        async def complained(problem: Exception) -> None:
            complaints.put_nowait(str(problem))

        wanted = {"allow_reconnect": False, "inbox_prefix": f"_INBOX_{name}", "connect_timeout": WAIT, **more}
        holder: list[Native] = []

        async def closed() -> None:
            for native in holder:
                native.closed.set()

        client = Client()
        try:
            await client.connect(
                url, user=name, password=token, error_cb=complained, closed_cb=closed, **wanted
            )
        except BaseException:
            _let_go(client)
            raise
        native = cls(client, name, complaints)
        holder.append(native)
        return native

    def subject(self, kind: str, lane: str = "normal", agent: str | None = None) -> str:
        return f"bc.{self.group}.cmd.{lane}.{agent or self.name}.{kind}"

    async def say(self, kind: str, lane: str = "normal", **fields: Any) -> Frame:
        """Publish and wait until it is stored; what was said, with the acknowledgement as ``ack``."""
        message = content(kind, **fields)
        headers = {"Nats-Msg-Id": f"{self.name}:{message['message_id']}"}
        ack = await self.client.jetstream().publish(
            self.subject(kind, lane), json.dumps(message).encode(), timeout=WAIT, headers=headers
        )
        return {**message, "ack": ack}

    async def offer(self, subject: str, payload: Any, headers: dict[str, str] | None = None) -> Frame:
        """Publish and wait for the answer, whatever it is."""
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        answer = await self.client.request(subject, raw, timeout=WAIT, headers=headers)
        found: Frame = json.loads(answer.data)
        return found

    async def ask(self, query: str, headers: dict[str, str] | None = None, **params: Any) -> Frame:
        return await self.offer(f"bc.{self.group}.svc.query.{query}", params, headers)

    async def pull(self, batch: int = 50, wait: float = 2.0) -> list[Msg]:
        """What comes, acknowledged."""
        if self._pulls is None:
            self._pulls = await self.client.jetstream().pull_subscribe_bind(
                f"agent-{self.name}", f"BC_EVENTS_{self.group}"
            )
        try:
            found = await self._pulls.fetch(batch, timeout=wait)
        except TimeoutError:  # the library raises its own, which is one of these, or the plain one
            return []
        for message in found:
            await message.ack_sync(WAIT)
            self.frames.append({**json.loads(message.data), "subject": message.subject})
        return found

    async def hears(self, message_id: str) -> Frame:
        """Pull until a message has come."""
        async with asyncio.timeout(WAIT):
            while True:
                for frame in self.frames:
                    if frame.get("message_id") == message_id:
                        return frame
                await self.pull(1)

    async def result_of(self, message_id: str) -> Frame:
        async with asyncio.timeout(WAIT):
            while True:
                for frame in self.frames:
                    if frame["type"] == "result" and frame.get("in_reply_to") == message_id:
                        return frame
                await self.pull(1)

    def contents(self) -> list[str]:
        """What was said in everything that has come, in order."""
        found = [
            frame.get("content") or (frame.get("exchange") or {}).get("content") for frame in self.frames
        ]
        return [str(text) for text in found if text is not None]

    async def close(self) -> None:
        if not self.client.is_closed:
            await self.client.close()
