"""The settings in force, as the bucket BC_config has them: read once, then followed."""

from __future__ import annotations

from typing import Any

import pydantic_core

from backchannel.domain.settings import DEFAULTS, Settings
from backchannel.errors import BackchannelError
from backchannel.jetstream.bucket import Bucket, Value
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.tail import Tail
from backchannel.logger import Logger

log = Logger(__name__)
BUCKET = "BC_config"


class LiveSettings:
    """What is said under each setting's name, as JSON. What makes no sense changes nothing and is logged."""

    def __init__(self, connection: Connection) -> None:
        self.current = Settings()
        self._bucket = Bucket(connection, BUCKET)
        self._tail: Tail | None = None

    async def open(self) -> None:
        """Returns when everything that is set is in force."""
        self._tail = await self._bucket.watch(">", self._take)

    async def close(self) -> None:
        if self._tail is not None:
            await self._tail.stop()

    def _take(self, name: str, value: Value | None) -> None:
        if name not in DEFAULTS:
            return
        try:
            wanted: Any = None if value is None else pydantic_core.from_json(value.payload)
            self.current = self.current.changed(name, wanted)
        except (ValueError, BackchannelError) as error:
            log.error("setting_ignored", setting=name, error=str(error))
            return
        log.info("setting_in_force", setting=name, value=self.current.flat()[name])
