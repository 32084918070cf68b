"""Who reads for a group: one process at a time, as long as it holds a lease that lapses when it dies."""

from __future__ import annotations

import asyncio
import secrets
import time

from backchannel.errors import BackchannelError, Conflict
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from backchannel.logger import Logger
from backchannel.service.house import House
from backchannel.service.native.gate import Gate
from backchannel.service.native.passes import BUCKET, Passes
from backchannel.service.native.questions import Questions
from backchannel.service.native.readers import Readers

log = Logger(__name__)
LEASE, RENEWED, LOOKED = 5, 1.5, 1.0
"""Seconds: how long the right to read for a group lasts, how often it is renewed and looked for."""


class Reading:
    """Has one process at a time read for a group, and answer its questions: whoever holds the lease."""

    def __init__(self, house: House, listening: Connection, group: str, passes: Passes, gate: Gate) -> None:
        self._house = house
        self._listening = listening
        self._gate = gate
        self._group = group
        self._passes = passes
        self._questions = Questions(listening, house.connection, group, gate)
        self._bucket = Bucket(house.connection, BUCKET)
        self._key = f"{group}.lease.reader"
        self._name = secrets.token_hex(8).encode()
        self.settled = asyncio.Event()
        """Set once somebody reads for the group."""

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                revision = await self._bucket.create(self._key, self._name, ttl=LEASE)
                await self._lead(revision)
            except Conflict:
                self.settled.set()
                await asyncio.sleep(LOOKED)
            except BackchannelError as error:
                log.warning("native_reading_interrupted", group=self._group, error=error.message)
                await asyncio.sleep(LOOKED)

    async def _lead(self, revision: int) -> None:
        await self._questions.open()
        readers = Readers(self._house, self._listening, self._group, self._passes, self._gate)
        reading = asyncio.ensure_future(readers.run())
        try:
            opened = asyncio.ensure_future(readers.opened.wait())
            await asyncio.wait([reading, opened], return_when=asyncio.FIRST_COMPLETED)
            opened.cancel()
            self.settled.set()
            while not reading.done():
                await asyncio.wait([reading], timeout=RENEWED)
                began = time.monotonic()
                revision = await self._bucket.update(self._key, self._name, revision, ttl=LEASE)
                if time.monotonic() - began > LEASE / 2:
                    return
        except Conflict:
            log.warning("native_reading_lost", group=self._group)
        finally:
            reading.cancel()
            (outcome,) = await asyncio.gather(reading, return_exceptions=True)
            if isinstance(outcome, Exception):
                log.error("native_reading_failed", group=self._group, error=repr(outcome))
            await self._questions.close()
            await self._give_up()

    async def _give_up(self) -> None:
        try:
            found = await self._bucket.get(self._key)
            if found is not None and found.payload == self._name:
                await self._bucket.delete(self._key)
        except BackchannelError as error:
            log.debug("lease_not_returned", error=error.message)
