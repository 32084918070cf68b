"""Supervision: asking for a tool, deciding about it, and telling how it went."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from backchannel.protocol.claims import SupervisionLevel
from backchannel.protocol.identifier import Identifier
from backchannel.protocol.message import Message, ShortText, Text, Way

MOST_TOGETHER = 50
"""Requests that one answer may decide."""
VERDICT = ("request_id", "approved", "reason")

Strict = Annotated[bool, Field(strict=True)]
Reason = Annotated[ShortText, StringConstraints(pattern=r"\S")]
"""Why a human decides so: a blank says nothing."""


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
    """What came of a tool that was run; said by a human, it is the last word, and may be called severe."""

    way: ClassVar[Way] = Way.STATEFUL
    type: Literal["tool_result"] = "tool_result"
    request_id: ShortText
    success: Strict
    result: Any = None
    error: Text | None = None
    severe: Strict = False

    example: ClassVar[dict[str, Any]] = {"request_id": "…", "success": True}


class Verdict(BaseModel):
    """One of several decisions in one answer."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)

    request_id: ShortText
    approved: Strict
    reason: Reason
    alternatives: list[Any] = []
    conditions: list[Any] = []
    reschedule: Any = None


class ApprovalResponse(Message):
    """A human's answer to an approval request, or to several that it names: then to all or to none."""

    way: ClassVar[Way] = Way.STATEFUL
    type: Literal["approval_response"] = "approval_response"
    request_id: ShortText
    approved: Strict
    reason: Reason
    alternatives: list[Any] = []
    conditions: list[Any] = []
    reschedule: Any = None
    together: Annotated[list[ShortText], Field(max_length=MOST_TOGETHER)] | Strict | None = None
    decisions: Annotated[list[Verdict], Field(max_length=MOST_TOGETHER)] | None = None

    example: ClassVar[dict[str, Any]] = {"request_id": "…", "approved": True, "reason": "A safe place."}

    @model_validator(mode="before")
    @classmethod
    def _first_of_several(cls, said: Any) -> Any:
        """What only says `decisions` is about the first of them, and the others with it."""
        match said:
            case {"decisions": [{**first}, *_]} if "request_id" not in said:
                return {**{name: first[name] for name in VERDICT if name in first}, **said}
        return said


class AllowanceRevoke(Message):
    """A human takes back what was allowed for a while: the next call like that is asked for again."""

    way: ClassVar[Way] = Way.STATEFUL
    type: Literal["allowance_revoke"] = "allowance_revoke"
    allowance_id: ShortText
    reason: Reason

    example: ClassVar[dict[str, Any]] = {"allowance_id": "…", "reason": "The reports are done."}


class TrustUpdate(Message):
    """A human says how much freedom an agent has with a class of tools: never more than its token says."""

    way: ClassVar[Way] = Way.STATEFUL
    type: Literal["trust_update"] = "trust_update"
    agent_id: Identifier
    tool_class: Identifier
    level: SupervisionLevel
    reason: Reason

    example: ClassVar[dict[str, Any]] = {
        "agent_id": "ada",
        "tool_class": "write",
        "level": "medium",
        "reason": "It has been careful for weeks.",
    }


class TrustNotice(Message):
    """An agent's level was lowered, or a higher one is recommended; for the human it answers to."""

    type: Literal["trust_notice"] = "trust_notice"
    agent_id: Identifier
    tool_class: ShortText
    change: Literal["lowered", "recommended", "kept"]
    level: SupervisionLevel
    new_level: SupervisionLevel
    message: ShortText
    evidence: dict[str, Any] = {}
    request_id: ShortText | None = None

    example: ClassVar[dict[str, Any]] = {
        "agent_id": "ada",
        "tool_class": "write",
        "change": "recommended",
        "level": "high",
        "new_level": "medium",
        "message": "The level medium is recommended for ada with tools of the class write.",
    }


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
