"""Successors: one bridge tells the others that a connection has taken the place of an older one."""

from __future__ import annotations

from collections.abc import Callable

import pydantic_core
import structlog

from backchannel.errors import BackchannelError
from backchannel.jetstream.connection import Arrived, Connection
from backchannel.protocol.subject import bridge_subject
from bridge.positions import Holding, Place

log = structlog.get_logger("bridge.successor")


class Successors:
    """Notices over core NATS: at most once. Who misses one finds out when it next writes its position."""

    def __init__(self, connection: Connection, on_succeeded: Callable[[Place, int], None]) -> None:
        self._connection = connection
        self._on_succeeded = on_succeeded

    async def open(self) -> None:
        await self._connection.subscribe(bridge_subject("*", "replaced"), self._heard)

    async def announce(self, holding: Holding) -> None:
        """Whoever holds this place at an older revision has been replaced."""
        notice = {"place": list(holding.place), "revision": holding.revision}
        subject = bridge_subject(holding.place.group, "replaced")
        try:
            await self._connection.send(subject, pydantic_core.to_json(notice))
        except BackchannelError as problem:
            log.info("a replacement was not announced", problem=str(problem))

    def _heard(self, message: Arrived) -> None:
        try:
            notice = pydantic_core.from_json(message.payload)
            place, revision = Place(*notice["place"]), int(notice["revision"])
        except (ValueError, KeyError, TypeError):
            log.warning("a notice cannot be read", subject=message.subject)
            return
        self._on_succeeded(place, revision)
