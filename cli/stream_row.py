"""One record of a stream, as people and programs see it."""

from __future__ import annotations

import json
from typing import Any

from backchannel.jetstream.read import Record
from cli.content import gist

LONGEST = 500
"""Characters of content in a row; --json has the whole message beside it."""
COLUMNS = ("time", "sequence", "subject", "type", "sender", "content")


def message_of(record: Record) -> dict[str, Any] | None:
    """The JSON object that was stored; None if it is something else."""
    try:
        parsed = json.loads(record.payload)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def row(record: Record) -> dict[str, Any]:
    """One record as people and programs see it. `message` is null where the payload is not a JSON object."""
    message = message_of(record)
    said = gist(message) if message else record.payload.decode("utf-8", "replace")
    return {
        "time": record.time,
        "sequence": record.sequence,
        "subject": record.subject,
        "type": (message or {}).get("type"),
        "sender": (message or {}).get("sender_agent_id"),
        "content": said[:LONGEST],
        "message": message,
    }
