"""A timer that has come due, as the log tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from backchannel.errors import Internal
from backchannel.jetstream.record import Record
from backchannel.protocol.identifier import PLATFORM
from backchannel.protocol.json_object import read_object
from backchannel.service.follow import FAMILY, Origin

REDELIVERS = "Bc-Redelivers"
"""The header that says where a timer came due first, if it is told once more."""


@dataclass(frozen=True, slots=True)
class Due:
    """The moment of the timer ``name`` of ``key`` has come. ``about`` is what was said when it was started.

    ``message_id`` is that of whatever follows from it: the same one, however often this is told.
    """

    group: str
    service: str
    name: str
    key: str
    about: Mapping[str, Any]
    message_id: UUID
    stored: datetime
    trace: str | None = None

    @property
    def origin(self) -> Origin:
        return Origin(self.group, PLATFORM, self.message_id, trace=self.trace)


def due_in(record: Record) -> Due:
    """
    Raises:
        Internal: that is no timer of ours.
        BadFrame: what it is about cannot be read.
    """
    match record.subject.split("."):
        case ["bc", group, "timer", "due", service, name, key]:
            return Due(
                group,
                service,
                name,
                key,
                read_object(record.payload),
                uuid5(FAMILY, f"due:{record.subject}:{first_due(record)}"),
                datetime.fromisoformat(record.time),
                (record.headers or {}).get("traceparent"),
            )
    raise Internal(f"The subject {record.subject} is not that of a timer.")


def first_due(record: Record) -> str:
    """Sequence and time under which a timer was told first: what its follow-ups are named after."""
    return (record.headers or {}).get(REDELIVERS) or f"{record.sequence}:{record.time}"
