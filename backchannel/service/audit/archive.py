"""The archive: both copies of every group's trail and its seals; one process at a time for each folder."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog

from backchannel.home.files import reason
from backchannel.service.audit.copying import Copying
from backchannel.service.audit.locate import head
from backchannel.service.audit.sealing import Sealing
from backchannel.service.audit.segment import Segments
from backchannel.service.audit.standing import answer
from backchannel.service.audit.table import Table
from backchannel.service.house import House

log = structlog.get_logger()
LOCK = "lock"
LOCK_POLL = 1.0


class Archive:
    """Runs in every handlers process; only the one that holds the lock of the folder does anything."""

    def __init__(self, house: House, folder: Path) -> None:
        self._house = house
        self._folder = folder
        self.copyings = [
            Copying(house.connection, group, copy)
            for group in house.groups
            for copy in (Segments(folder, group), Table(folder, group))
        ]
        self.sealings = [Sealing(house, group) for group in house.groups] if house.records.seed else []

    async def run(self) -> None:
        """Until cancelled."""
        async with self._alone(), asyncio.TaskGroup() as tasks:
            for copying in self.copyings:
                tasks.create_task(copying.run())
            for sealing in self.sealings:
                tasks.create_task(sealing.run())
            told = [
                await answer(self._house.connection, group, self.standing) for group in self._house.groups
            ]
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                for one in told:
                    one.close()

    async def standing(self, group: str) -> dict[str, Any]:
        """Each copy with how far it is, and the primary."""
        newest = await head(self._house.connection, group)
        return {
            "group": group,
            "position": newest.position if newest else 0,
            "copies": [one.standing.shown() for one in self.copyings if one.standing.group == group],
            "sealing": next((one.failing for one in self.sealings if one.failing), None),
        }

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Be the only one to write to the folder; waits for that, however long it takes."""
        descriptor = await self._locked()
        try:
            yield
        finally:
            os.close(descriptor)

    async def _locked(self) -> int:
        told = False
        while True:
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                descriptor = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as problem:
                if not told:
                    log.error("audit_folder_unusable", folder=str(self._folder), problem=reason(problem))
                told = True
                await asyncio.sleep(LOCK_POLL)
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                await asyncio.sleep(LOCK_POLL)
            else:
                return descriptor
