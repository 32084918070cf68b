"""Agents of a whole platform: bridge, handlers, nats-server, each in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backchannel.client import Agent, Incoming, MemoryUpdate
from backchannel.client.connecting import Connecting
from tests.promises.running import Platform

WAIT = 60.0


@dataclass(frozen=True)
class Place:
    """A group of a running platform that no other test uses."""

    platform: Platform
    group: str = "main"

    @property
    def data(self) -> Path:
        return self.platform.data

    def agent(self, name: str, *, queue: int = 1000, observer: bool = False) -> Connecting[Agent]:
        return Agent.connect(
            name,
            data=self.data,
            group=self.group,
            patience=WAIT,
            timeout=WAIT,
            queue=queue,
            observer=observer,
        )

    async def token(self, name: str) -> str:
        return await self.platform.token(name, "--group", self.group)


def numbers(messages: list[Incoming]) -> list[int]:
    return [int(str(m.exchange.content)) for m in messages if isinstance(m, MemoryUpdate)]


async def heard(me: Agent, count: int) -> list[int]:
    """The next `count` numbers, none of which is long in coming."""
    return numbers([await me.next(timeout=WAIT) for _ in range(count)])
