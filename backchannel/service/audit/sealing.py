"""Sealing: what is new in the trail is signed from time to time, in the trail and in an anchor file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backchannel.domain.audit import Deed, read_link
from backchannel.domain.audit.proof import ACTION, Claim
from backchannel.domain.canonical import canonical
from backchannel.errors import BackchannelError
from backchannel.home.files import reason
from backchannel.jetstream.read import read_one
from backchannel.logger import Logger
from backchannel.protocol.message import rfc3339
from backchannel.protocol.subject import AUDIT
from backchannel.service.audit.locate import head
from backchannel.service.audit.signature import Signer
from backchannel.service.house import House
from backchannel.service.runner import now_utc

log = Logger(__name__)
LOOK_EACH = 1.0


class Sealing:
    """Seals the trail of one group: once at the start, then as the settings of `audit` say."""

    def __init__(self, house: House, group: str) -> None:
        self._house = house
        self._group = group
        self._signer = Signer(house.records.seed)
        self._sealed: int | None = None
        self._at = 0.0
        self.failing: str | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._look()
                self.failing = None
            except BackchannelError as problem:
                self._fail(problem.message)
            except OSError as problem:
                self._fail(f"the anchor file cannot be written: {reason(problem)}")
            await asyncio.sleep(LOOK_EACH)

    async def seal(self) -> None:
        """Sign the chain as it is, keep that in the trail, and in the anchor file if there is one.

        Raises:
            BackchannelError: the trail does not take it.
            OSError: the anchor file cannot be written; the trail has it.
        """
        deed = Deed(self._group, "platform", "trail", ACTION, seal=self._facts)
        written = await self._house.trail.write(deed)
        self._sealed, self._at = written.position, asyncio.get_running_loop().time()
        if self._house.records.anchor is not None:
            record = await read_one(self._house.connection, AUDIT, written.sequence)
            if record is not None:
                facts = read_link(record.payload).fields["facts"]
                await asyncio.to_thread(_append, self._house.records.anchor, {"group": self._group, **facts})

    async def _look(self) -> None:
        newest = await head(self._house.connection, self._group)
        if newest is None or newest.fields["action"] == ACTION:
            return
        wanted = self._house.settings().audit
        new = newest.position - (self._sealed or 0)
        waited = asyncio.get_running_loop().time() - self._at
        if self._sealed is None or new >= wanted.checkpoint_records or waited >= wanted.checkpoint_seconds:
            await self.seal()

    def _facts(self, position: int, own: str) -> Mapping[str, Any]:
        return self._signer.sign(Claim(self._group, position, own, rfc3339(now_utc()))).facts

    def _fail(self, why: str) -> None:
        if self.failing != why:
            log.warning("audit_seal_waits", group=self._group, problem=why)
        self.failing = why


def _append(path: Path, line: Mapping[str, Any]) -> None:
    """One line, on the disk when this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        text = canonical(line) + b"\n"
        if os.write(descriptor, text) != len(text):
            raise OSError("the line was cut short")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
