"""Keeps the audit trail on this machine: two copies of it, sealed by signatures."""

from __future__ import annotations

from backchannel.service.audit.archive import Archive
from backchannel.service.declare import Service
from backchannel.service.house import House

service = Service("audit", about=__doc__)


@service.duty
async def copies(house: House) -> None:
    """Both copies of each group's trail, and its checkpoints."""
    if house.records.folder is not None:
        await Archive(house, house.records.folder).run()
