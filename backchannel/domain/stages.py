"""Where a message stands with one recipient, in one word, and why it was for it at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backchannel.protocol.identifier import MAIN
from backchannel.protocol.subject import Destination, InContext, InInbox


def state_of(row: Mapping[str, Any], *, connected: bool) -> str:
    """The farthest stage: done, failed, deferred, taken, received, sent (or about to be), or waiting.

    What a connection has been given and not acknowledged is known to its bridge alone; to everybody else it
    is on its way.
    """
    match row:
        case {"handled": {"status": str() as status}}:
            return status
        case {"taken_by": str() as by, "agent_id": str() as agent} if by != agent:
            return "taken"
        case {"received": True}:
            return "received"
    return "sent" if connected else "waiting"


def why(row: Mapping[str, Any], to: Destination) -> str:
    """Why it is for this agent."""
    if row.get("in_place_of"):
        return f"offered in place of {row['in_place_of']}, who was away"
    match to:
        case InInbox():
            return "it was sent to this agent's inbox"
        case InContext(context_id) if context_id != MAIN:
            return f"was a participant of {context_id} at that position"
    return "is in the group"
