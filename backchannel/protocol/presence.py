"""Presence: who is here, and what they are at."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from backchannel.protocol.identifier import Identifier
from backchannel.protocol.message import Agents, Checked, Message, ShortText, Way

PresenceStatus = Literal["online", "working", "idle", "offline"]


class AgentPresence(Message):
    """Say where one stands; everyone in the group hears of it.

    ``invitations`` says who may bring one into sidebars: anyone, those one works with already, or nobody.
    """

    way: ClassVar[Way] = Way.STATELESS
    type: Literal["agent_presence"] = "agent_presence"
    status: PresenceStatus
    current_context: Identifier | None = None
    specialties: Agents | None = None
    invitations: Literal["anyone", "known", "nobody"] | None = None

    # Filled by the platform:
    agent_id: Identifier | None = None
    active_sidebars: Annotated[list[str], Checked] | None = None

    example: ClassVar[dict[str, Any]] = {"status": "working", "current_context": "main"}


class AgentOffline(Message):
    """An agent has gone; critical messages for it are taken over by others."""

    type: Literal["agent_offline"] = "agent_offline"
    agent_id: Identifier
    reason: ShortText | None = None

    example: ClassVar[dict[str, Any]] = {"agent_id": "bob"}


class CuratorCheckin(Message):
    """Critical updates were not acknowledged; the curator asks whether all is well."""

    type: Literal["curator_checkin"] = "curator_checkin"
    message: ShortText
    missing_updates: list[Any]

    example: ClassVar[dict[str, Any]] = {"message": "Two updates are unacknowledged.", "missing_updates": []}
