"""An event of the log, as whoever follows events is told it, and what may follow from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from backchannel.domain.decision import Decision
from backchannel.protocol.message import Message
from backchannel.protocol.subject import Destination
from backchannel.service.context import Context


@dataclass(frozen=True, slots=True)
class Happened:
    """One event of the log, where it went, and when it was stored.

    ``message_id`` is that of whatever follows from it: the same one, however often this is told.
    """

    group: str
    event: Message
    sequence: int
    to: Destination
    lane: str
    stored: datetime
    message_id: UUID
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """Fields to be kept under a key of BC_agents, as of a position of the log; an older note never wins."""

    key: str
    fields: Mapping[str, Any]
    sequence: int


Follower = Callable[[Happened, Context], Awaitable[Note | Decision | None]]
"""What follows from an event. It never publishes, acknowledges, sleeps or reads a clock."""
