"""The archive: both copies of every group's trail, its seals and its scribes; one for each folder."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from backchannel.home.files import reason
from backchannel.jetstream.connection import Subscription
from backchannel.logger import Logger
from backchannel.service.audit.copying import Copying
from backchannel.service.audit.locate import head
from backchannel.service.audit.scribe import Scribe
from backchannel.service.audit.sealing import Sealing
from backchannel.service.audit.segment import Segments
from backchannel.service.audit.sources import sources
from backchannel.service.audit.standing import answer
from backchannel.service.audit.table import Table
from backchannel.service.audit.unfinished import Unfinished
from backchannel.service.house import House

log = Logger(__name__)
LOCK = "lock"
LOCK_POLL = 1.0


class Archive:
    """Runs in every handlers process; only the one that holds the lock of the folder does anything.

    Without a folder there are no copies, and every process does the rest: each record is entered once.
    """

    def __init__(self, house: House, folder: Path | None) -> None:
        self._house = house
        self._folder = folder
        self._answering: list[Subscription] = []
        self._copyings = [
            Copying(house.connection, group, copy)
            for group in house.groups
            if folder is not None
            for copy in (Segments(folder, group), Table(folder, group))
        ]
        self._sealings = [Sealing(house, group) for group in house.groups] if house.records.seed else []
        self._scribes = [
            Scribe(house, group, source)
            for place, group in enumerate(house.groups)
            for source in sources(group, first=not place)
        ]

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await self._run()
        finally:
            for subscription in self._answering:
                subscription.close()

    async def _run(self) -> None:
        async with self._alone(), asyncio.TaskGroup() as tasks:
            for copying in self._copyings:
                tasks.create_task(copying.run())
            for scribe in self._scribes:
                tasks.create_task(scribe.run())
            for sealing in self._sealings:
                tasks.create_task(sealing.run())
            for group in self._house.groups:
                tasks.create_task(Unfinished(self._house, group).run())
            await self._answer()
            await asyncio.get_running_loop().create_future()

    async def standing(self, group: str) -> dict[str, Any]:
        """Each copy with how far it is, and the primary."""
        newest = await head(self._house.connection, group)
        return {
            "group": group,
            "position": newest.position if newest else 0,
            "copies": [one.standing.shown() for one in self._copyings if one.standing.group == group],
            "writing": self._house.trail.failing(group),
            "sealing": next((one.failing for one in self._sealings if one.failing), None),
        }

    async def _answer(self) -> None:
        """Answer how it stands, from now on."""
        if not self._answering:
            for group in self._house.groups:
                self._answering.append(await answer(self._house.connection, group, self.standing))

    async def _cannot(self, why: str) -> None:
        """The folder cannot be used: nothing is copied until it can, and whoever asks is told so."""
        for copying in self._copyings:
            copying.standing.failing = why
        await self._answer()

    async def _locked(self, folder: Path) -> int:
        """The descriptor that holds the lock, once nobody else does."""
        told = ""
        while True:
            try:
                if (descriptor := _lock(folder)) is not None:
                    return descriptor
            except OSError as problem:
                why = f"the folder {folder} cannot be used: {reason(problem)}"
                if why != told:
                    log.error("audit_folder_unusable", folder=str(folder), problem=why)
                told = why
                await self._cannot(why)
            await asyncio.sleep(LOCK_POLL)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Be the only one to write to the folder; waits for that, however long it takes."""
        descriptor = await self._locked(self._folder) if self._folder is not None else None
        try:
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)


def _lock(folder: Path) -> int | None:
    """The descriptor that holds the lock; None if somebody else has it. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
