"""Seats: which connections an agent has, on all bridges together, and who must go for one more to come in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MOST = 2
"""Connections an agent may have, of which one may be active."""

PURPOSES = ("primary", "observer", "backup")


@dataclass(frozen=True, slots=True)
class Seat:
    """One connection of an agent, and the bridge that can say whether it is there.

    `shown` is the digest of the session token by which it took the seat; empty if it came without.
    """

    connection: str
    bridge: str
    active: bool
    purpose: str
    shown: str = ""


def rivals(taken: Sequence[Seat], *, active: bool) -> list[Seat]:
    """Seats of which one must become free before another connection comes in; empty if there is room."""
    if active and (found := [seat for seat in taken if seat.active]):
        return found
    return list(taken) if len(taken) >= MOST else []


def free_purpose(taken: Iterable[Seat], wanted: str) -> str:
    """The purpose under which a newcomer's position is kept: the wanted one, or one that nobody has."""
    used = {seat.purpose for seat in taken}
    return next((one for one in (wanted, *reversed(PURPOSES)) if one not in used), wanted)
