"""Keeps what agents say of themselves in the directory: status, place, specialties."""

from __future__ import annotations

from typing import Any

from backchannel.protocol.presence import AgentPresence
from backchannel.service.context import Context
from backchannel.service.declare import Service
from backchannel.service.happened import Happened, Note

service = Service("presence", about=__doc__)


@service.follows("bc.{group}.evt.all.*.presence", "bc.{group}.evt.ctx.*.*.presence")
async def note(happened: Happened, ctx: Context) -> Note | None:
    """What the last presence of an agent says is what its directory entry says."""
    event = happened.event
    if not isinstance(event, AgentPresence) or event.agent_id is None:
        return None
    said: dict[str, Any] = {"status": event.status, "current_context": event.current_context}
    if event.specialties is not None:
        said["specialties"] = event.specialties
    if event.invitations is not None:
        said["invitations"] = event.invitations
    return Note(f"{happened.group}.{event.agent_id}", said, happened.sequence)
