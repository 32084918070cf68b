"""Giving the log what follows from a decision, if what the decision rests on still holds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from backchannel.domain.audit import Deed
from backchannel.domain.canonical import digest
from backchannel.errors import Conflict
from backchannel.jetstream.publish import Entry, Fence, covers
from backchannel.service.house import House

STALE_TRIES = 16
"""How often a decision is made anew because somebody else wrote in between, before its cause waits."""


async def committed(
    house: House, told: Sequence[Entry], fences: Sequence[Fence], deeds: Sequence[Deed] = (), cause: str = ""
) -> bool:
    """False when somebody else wrote what was read: the decision is void and must be made anew.

    Intents are in the audit trail before anything else is stored; all other deeds are noted after it.

    Args:
        cause: what the deeds come of; with their content it makes their ids, so that each is kept once.

    Raises:
        Unavailable: the trail or the log did not take it. What it was about is not done.
    """
    known = [replace(deed, id=deed.id or _identity(deed, cause)) for deed in deeds]
    await asyncio.gather(*(house.trail.write(deed) for deed in known if deed.phase == "intent"))
    try:
        if told:
            await house.publisher.commit(told, _on_what_changes(fences, told))
    except Conflict:
        return False
    for deed in known:
        if deed.phase != "intent":
            house.trail.note(deed)
    return True


def _identity(deed: Deed, cause: str) -> str:
    said = [cause, deed.category, deed.entity, deed.action, deed.phase, deed.of, dict(deed.facts)]
    return digest(said)[:32]


def _on_what_changes(fences: Sequence[Fence], told: Sequence[Entry]) -> list[Fence]:
    """The fences around what the decision writes to; what it only read may move on."""
    return [fence for fence in fences if any(covers(fence.subject, entry.subject) for entry in told)]
