"""Shared memory: what an agent writes down in a context."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from backchannel.protocol.identifier import Identifier
from backchannel.protocol.message import Checked, Message, References, ShortText, Text, Way


class Exchange(BaseModel):
    """One thing worth remembering, with the topic it belongs to and the artifacts it rests on."""

    model_config = ConfigDict(defer_build=True, extra="allow", frozen=True)

    content: Annotated[str, StringConstraints(strict=True, max_length=1_000_000)] | dict[str, Any] | list[Any]
    topic: Identifier | None = None
    data_refs: References = []
    format: ShortText | None = None


class MemoryUpdate(Message):
    """Store an exchange in a context; everyone entitled to the context hears of it."""

    way: ClassVar[Way] = Way.STATELESS
    type: Literal["memory_update"] = "memory_update"
    context_id: Identifier
    exchange: Exchange
    priority: Literal["critical", "normal", "background"] = "normal"
    basis: Text | None = None

    example: ClassVar[dict[str, Any]] = {
        "context_id": "main",
        "exchange": {"content": "The certificate expires on Friday.", "topic": "tls"},
    }


class ReviewRequested(Message):
    """Two agents wrote on one topic without having seen each other; a review sidebar holds both."""

    type: Literal["review_requested"] = "review_requested"
    sidebar_id: Identifier
    topic: Identifier
    updates: Annotated[list[str], Checked] = []

    example: ClassVar[dict[str, Any]] = {"sidebar_id": "review-tls", "topic": "tls"}
