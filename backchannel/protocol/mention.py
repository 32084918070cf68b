"""Mentions: calling on agents by name, whether or not they are there."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from backchannel.protocol.identifier import Identifier
from backchannel.protocol.message import Message, References, ShortText, Text, Way


class MentionRoute(Message):
    """Call on ``target_agents``; each finds it in its inbox, at once or on its return."""

    way: ClassVar[Way] = Way.STATELESS
    type: Literal["mention_route"] = "mention_route"
    target_agents: Annotated[list[Identifier], Field(min_length=1, max_length=256)]
    message: Text
    context_refs: References = []
    sidebar_id: Identifier | None = None
    priority: Literal["urgent", "normal"] = "normal"

    # Filled by the platform:
    delegated_from: Identifier | None = None
    in_message: str | None = None

    example: ClassVar[dict[str, Any]] = {"target_agents": ["bob"], "message": "Can you look at this?"}


class Undeliverable(Message):
    """What was sent could not be delivered or handled after its retries."""

    type: Literal["undeliverable"] = "undeliverable"
    original_message_id: str
    reason: ShortText
    target: str | None = None

    example: ClassVar[dict[str, Any]] = {"original_message_id": "…", "reason": "It failed five times."}


class MessageQuarantined(Message):
    """A message was parked because agents seem to go round in circles; a person decides about it."""

    type: Literal["message_quarantined"] = "message_quarantined"
    original_message_id: str
    agents: list[Identifier]
    reason: ShortText
    hops: int = 0

    example: ClassVar[dict[str, Any]] = {
        "original_message_id": "…",
        "agents": ["ada", "bob"],
        "reason": "It is the 17th message of a chain; 16 may follow.",
    }
