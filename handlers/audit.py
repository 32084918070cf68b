"""Keeps the audit trail: copies on this machine, sealed by signatures, and what others would not enter."""

from __future__ import annotations

from backchannel.service.audit.archive import Archive
from backchannel.service.audit.operator import OperatorDeeds
from backchannel.service.declare import Service
from backchannel.service.house import House

service = Service("audit", about=__doc__)


@service.duty
async def archive(house: House) -> None:
    """Both copies of each group's trail, its checkpoints, and what the logs say has happened."""
    await Archive(house, house.records.folder).run()


@service.duty
async def operator(house: House) -> None:
    """What is done with the command line."""
    await OperatorDeeds(house).run()
