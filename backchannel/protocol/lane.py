"""Lanes: the seven queues a message may wait in, most urgent first."""

from __future__ import annotations

from enum import StrEnum


class Lane(StrEnum):
    """Where something waits. Defined most urgent first; ``rank`` 0 overtakes all others."""

    SECURITY_EMERGENCY = "security_emergency"
    CRITICAL_FAILURE = "critical_failure"
    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"
    BACKGROUND = "background"

    @property
    def rank(self) -> int:
        return RANK[self]


LANES: tuple[Lane, ...] = tuple(Lane)
RANK: dict[str, int] = {lane: rank for rank, lane in enumerate(LANES)}
NEVER_DROPPED: frozenset[Lane] = frozenset(LANES[:3])
"""Lanes of which nothing is ever skipped, however slow the reader."""

RESERVED: frozenset[Lane] = frozenset(LANES[:2])
"""Lanes that only a token naming them in its ``lanes`` claim may use."""

_BY_PRIORITY = {"urgent": Lane.CRITICAL} | {lane.value: lane for lane in LANES if lane not in RESERVED}


def lane_of(message_type: str, priority: str | None) -> Lane:
    """The lane a message travels in: emergencies by their type, all else by what the sender says."""
    if message_type in RANK and Lane(message_type) in RESERVED:
        return Lane(message_type)
    return _BY_PRIORITY.get(priority or "normal", Lane.NORMAL)
