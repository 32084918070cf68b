"""What every message has, and the three ways in which one is answered."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints

from backchannel.protocol.identifier import Identifier
from backchannel.protocol.lane import Lane, lane_of


def rfc3339(moment: datetime) -> str:
    """The moment in UTC with milliseconds, as RFC 3339 writes it: ``2026-01-31T12:00:00.000Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def one_form(message_id: str) -> str:
    """An id in the form in which ids are compared: a UUID may be written in more than one."""
    if len(message_id) == 36 and message_id == message_id.lower():
        return message_id
    try:
        return str(UUID(message_id))
    except ValueError:
        return message_id


Moment = Annotated[AwareDatetime, PlainSerializer(rfc3339, return_type=str)]
Text = Annotated[str, StringConstraints(strict=True, max_length=1_000_000)]
ShortText = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=4096)]
Seconds = Annotated[float, Field(ge=0, le=31_536_000)]
Agents = Annotated[list[Identifier], Field(max_length=256)]
Checked = Field(fail_fast=True)
"""Of a list of any length the first fault is looked for, and no other: to name each takes longer than to read
all of it."""

References = Annotated[list[ShortText], Field(max_length=1000)]


class Way(Enum):
    """How a message from a client is answered."""

    STATELESS = "stored at once: one publish to the group's log"
    STATEFUL = "stored as a command; a handler decides and puts a result into the sender's inbox"
    QUERY = "answered at once, nothing is stored"
    CONNECTION = "concerns this connection only"
    PLATFORM = "only the platform says this"


class Message(BaseModel):
    """One thing said, by an agent or by the platform.

    ``message_id`` is chosen by the sender and is the key under which a repetition counts as the same.
    Unknown fields are kept, so that an older platform does not lose what a newer client says.
    """

    model_config = ConfigDict(defer_build=True, extra="allow", frozen=True, populate_by_name=True)

    way: ClassVar[Way] = Way.PLATFORM
    example: ClassVar[dict[str, Any]] = {}

    type: str
    message_id: UUID
    timestamp: Moment
    sender_agent_id: Identifier | None = None
    trace_id: ShortText | None = None
    causation_id: ShortText | None = None
    reply_to: ShortText | None = None

    def model_post_init(self, _: Any) -> None:
        self.model_fields_set.add("type")

    @property
    def lane(self) -> Lane:
        return lane_of(self.type, getattr(self, "priority", None))
