"""Neighbours: what bridges ask and tell each other about connections, over core NATS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import pydantic_core
import structlog

from backchannel.errors import BackchannelError
from backchannel.jetstream.connection import Arrived, Connection
from backchannel.protocol.subject import bridge_subject

log = structlog.get_logger("bridge.neighbours")
YES, NO = b"yes", b"no"


class Listener(Protocol):
    """The bridge that is asked and told."""

    async def answers(self, connection_id: str) -> bool:
        """Whether a connection of this bridge is there and shows it."""

    def alarm(self, group: str, agent: str, connection_id: str, *, stolen: bool) -> None:
        """Somebody tried to take over a session of an agent; `stolen`: by the token that counts there."""

    def errand(self, work: Any) -> None: ...


class Neighbours:
    """All bridges of a platform. What is told is told at most once."""

    def __init__(
        self, connection: Connection, bridge: str, groups: tuple[str, ...], listener: Listener
    ) -> None:
        self._connection = connection
        self._bridge = bridge
        self._groups = groups
        self._listener = listener

    async def open(self) -> None:
        for group in self._groups:
            await self._connection.subscribe(bridge_subject(group, self._bridge), self._asked)
            await self._connection.subscribe(bridge_subject(group, "alarm"), self._alarmed)

    async def there(self, group: str, bridge: str, connection_id: str, seconds: float) -> bool:
        """Whether another bridge says that its connection is there. One that says nothing has lost it."""
        try:
            reply = await self._connection.request(
                bridge_subject(group, bridge), connection_id.encode(), timeout=seconds
            )
        except BackchannelError as problem:
            log.info("a bridge did not answer for its connection", bridge=bridge, problem=problem.message)
            return False
        return reply.payload == YES

    async def alarm(self, group: str, agent: str, connection_id: str, *, stolen: bool = False) -> None:
        """Tell every bridge, this one included, that a session of the agent was reached for."""
        told = pydantic_core.to_json(
            {"group": group, "agent": agent, "connection": connection_id, "stolen": stolen}
        )
        try:
            await self._connection.send(bridge_subject(group, "alarm"), told)
        except BackchannelError as problem:
            log.warning("an alarm was not told to the other bridges", problem=problem.message)

    def _asked(self, message: Arrived) -> None:
        if message.reply:
            self._listener.errand(self._answer(message, self._listener.answers))

    async def _answer(self, message: Arrived, answers: Callable[[str], Awaitable[bool]]) -> None:
        there = await answers(message.payload.decode("ascii", "replace"))
        await self._connection.send(message.reply, YES if there else NO)

    def _alarmed(self, message: Arrived) -> None:
        try:
            told = pydantic_core.from_json(message.payload)
            group, agent, connection_id = told["group"], told["agent"], told["connection"]
            stolen = told.get("stolen") is True
        except (ValueError, KeyError, TypeError):
            log.warning("an alarm cannot be read", subject=message.subject)
            return
        self._listener.alarm(str(group), str(agent), str(connection_id), stolen=stolen)
