"""Supervision: asking for a tool, deciding about it, and telling how it went."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from backchannel.protocol.identifier import Identifier
from backchannel.protocol.message import Message, ShortText, Text, Way

Strict = Annotated[bool, Field(strict=True)]


class ToolRequest(Message):
    """Ask to run a tool with these parameters, and say why."""

    way: ClassVar[Way] = Way.STATEFUL
    type: Literal["tool_request"] = "tool_request"
    tool: Identifier
    params: dict[str, Any]
    agent_reasoning: Text | None = None
    chain: Identifier | None = None
    chain_id: ShortText | None = None

    example: ClassVar[dict[str, Any]] = {"tool": "file_write", "params": {"path": "out.md"}}


class ToolResult(Message):
    """What came of a tool that was run."""

    way: ClassVar[Way] = Way.STATEFUL
    type: Literal["tool_result"] = "tool_result"
    request_id: ShortText
    success: Strict
    result: Any = None
    error: Text | None = None

    example: ClassVar[dict[str, Any]] = {"request_id": "…", "success": True}


class ApprovalResponse(Message):
    """A human's answer to an approval request."""

    way: ClassVar[Way] = Way.STATEFUL
    type: Literal["approval_response"] = "approval_response"
    request_id: ShortText
    approved: Strict
    reason: ShortText
    alternatives: list[Any] = []
    conditions: list[Any] = []
    reschedule: Any = None

    example: ClassVar[dict[str, Any]] = {"request_id": "…", "approved": True, "reason": "A safe place."}


class ToolDecision(Message):
    """What was decided about a tool request."""

    type: Literal["tool_decision"] = "tool_decision"
    request_id: ShortText
    decision: Literal["approved", "denied", "pending", "rescheduled"]
    in_reply_to: str | None = None
    reason: Text | None = None
    conditions: list[Any] = []
    alternatives: list[Any] = []
    collaborative_notes: Text | None = None
    grant: str | None = None

    example: ClassVar[dict[str, Any]] = {"request_id": "…", "decision": "denied", "reason": "Not today."}


class ApprovalRequest(Message):
    """A tool request that waits for a human."""

    type: Literal["approval_request"] = "approval_request"
    request_id: ShortText
    agent_id: Identifier
    tool: Identifier
    params: dict[str, Any]
    risk: Any = None
    agent_reasoning: Text | None = None
    alternatives: list[Any] = []
    expires_at: str | None = None

    example: ClassVar[dict[str, Any]] = {
        "request_id": "…",
        "agent_id": "ada",
        "tool": "file_write",
        "params": {},
    }
