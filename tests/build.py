"""One builder for each message, with sensible defaults."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from backchannel.protocol.catalog import KINDS, AnyMessage, read_message

NOON = "2026-01-31T12:00:00.000Z"


def content(kind: str, **fields: Any) -> dict[str, Any]:
    """A message of a kind as a client sends it: a fresh id, and the fields given."""
    return {"type": kind, "message_id": str(uuid4()), "timestamp": NOON, **fields}


def message(kind: str, **fields: Any) -> AnyMessage:
    """The same, validated; what the kind's own example says stands in for required fields left out."""
    required = {name for name, told in KINDS[kind].model_fields.items() if told.is_required()}
    example = {name: value for name, value in KINDS[kind].example.items() if name in required}
    return read_message(content(kind, **{**example, **fields}))
