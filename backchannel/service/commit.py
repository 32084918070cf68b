"""Giving the log what follows from a decision, if what the decision rests on still holds."""

from __future__ import annotations

from collections.abc import Sequence

from backchannel.errors import Conflict
from backchannel.jetstream.publish import Entry, Fence, covers
from backchannel.service.house import House

STALE_TRIES = 16
"""How often a decision is made anew because somebody else wrote in between, before its cause waits."""


async def committed(house: House, told: Sequence[Entry], fences: Sequence[Fence]) -> bool:
    """False when somebody else wrote what was read: the decision is void and must be made anew."""
    try:
        await house.publisher.commit(told, _on_what_changes(fences, told))
    except Conflict:
        return False
    return True


def _on_what_changes(fences: Sequence[Fence], told: Sequence[Entry]) -> list[Fence]:
    """The fences around what the decision writes to; what it only read may move on."""
    return [fence for fence in fences if any(covers(fence.subject, entry.subject) for entry in told)]
