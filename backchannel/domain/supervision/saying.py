"""What supervision says: to the agent that asked, and to the humans who decide."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from backchannel.domain.decision import Outgoing
from backchannel.domain.supervision.request import Request
from backchannel.domain.supervision.showing import LARGEST_ASKED, cut
from backchannel.protocol.identifier import PLATFORM
from backchannel.protocol.lane import Lane
from backchannel.protocol.message import rfc3339
from backchannel.protocol.subject import InInbox
from backchannel.protocol.supervision import ApprovalRequest, ToolDecision

MARKED = "[from the platform] "
"""So that nobody takes the platform's words for a human's."""

WHOLE = (
    "Read all of it before you decide: query approvals with this request_id, or `backchannel approvals show`."
)

_LANES = {"critical": Lane.CRITICAL, "high": Lane.HIGH}


def lane_of(request: Request) -> Lane:
    """High-risk requests do not wait behind ordinary ones."""
    return _LANES.get(str(request.risk.get("level")), Lane.NORMAL)


def decision(request: Request, message_id: UUID, now: datetime, grant: str | None = None) -> Outgoing:
    """What became of it, for the agent."""
    said = ToolDecision(
        message_id=message_id,
        timestamp=now,
        sender_agent_id=PLATFORM,
        request_id=request.request_id,
        in_reply_to=request.request_id,
        decision=request.state,
        reason=request.reason,
        conditions=request.conditions or [],
        alternatives=request.alternatives or [],
        collaborative_notes=MARKED + _notes(request),
        grant=grant,
        tool=request.tool,
        risk=request.risk,
        decided_by=request.decided_by,
    )
    return Outgoing(InInbox(request.agent, "decision"), lane_of(request), said)


def question(request: Request, supervisor: str, message_id: UUID, now: datetime, **more: Any) -> Outgoing:
    """The request as a supervisor reads it. What is too large for that is cut, and said to be: `shortened`
    has the size and the SHA-256 of the whole, and `whole` says where it is read."""
    told = cut({"params": request.params, "agent_reasoning": request.agent_reasoning}, LARGEST_ASKED)
    if "shortened" in told:
        more |= {"shortened": told["shortened"], "whole": WHOLE, "digest": request.digest}
    said = ApprovalRequest(
        message_id=message_id,
        timestamp=now,
        sender_agent_id=PLATFORM,
        request_id=request.request_id,
        agent_id=request.agent,
        tool=request.tool,
        params=told["params"],
        risk=request.risk,
        agent_reasoning=told["agent_reasoning"],
        alternatives=request.alternatives or [],
        expires_at=_moment(request.until),
        reasons=request.reasons,
        asked=request.asked,
        **more,
    )
    return Outgoing(InInbox(supervisor, "decision"), lane_of(request), said)


def closed(request: Request, supervisor: str, message_id: UUID, now: datetime) -> Outgoing:
    """For others who were asked: it is decided, and by whom."""
    told = decision(request, message_id, now)
    return Outgoing(InInbox(supervisor, "decision"), Lane.NORMAL, told.message)


def _notes(request: Request) -> str:
    match request.state:
        case "approved" if request.conditions:
            return "Keep the conditions; whoever executes refuses to go beyond them."
        case "approved":
            return "Good for this one call, with exactly these parameters."
        case "pending":
            asked = ", ".join(request.asked) or "the operator"
            return f"It waits for {asked}. Go on with something else; the answer comes by itself."
        case "rescheduled":
            return f"It will be asked again at {_moment(request.until)}; there is nothing to do until then."
    return _of_a_denial(request)


def _of_a_denial(request: Request) -> str:
    if request.decided_by is None:
        return "Nobody was asked to make an exception. Choose a way that the rules allow, or ask your human."
    if request.alternatives:
        return f"{request.decided_by} suggests another way: see the alternatives, and ask for one of those."
    return f"{request.decided_by} gave a reason: answer it, or ask for less, before you ask again."


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(datetime.fromtimestamp(seconds, UTC))
