"""From a decision to the entries the log is given: ids, subjects and headers of every follow-up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from backchannel.domain.decision import Decision, Outgoing
from backchannel.errors import BackchannelError, Forbidden
from backchannel.jetstream.publish import Entry
from backchannel.protocol.catalog import write
from backchannel.protocol.identifier import PLATFORM
from backchannel.protocol.message import Message
from backchannel.protocol.result import Result
from backchannel.protocol.subject import Asked, InInbox

FAMILY = UUID("5b1c2a52-6f0e-4f0b-9b55-0d1f5b2f9f61")
"""The namespace in which ids of follow-ups are derived (RFC 9562, version 5)."""


def entries(
    decision: Decision, cause: Message, asked: Asked, now: datetime, trace: str | None
) -> list[Entry]:
    """The follow-ups of a command, its sender's result last."""
    result = refreshed(cause, asked, now, {"status": "success", **decision.result})
    told = [*_with_ids(decision.events, cause, asked), result]
    return [_entry(out, asked, cause, f"e{place}", trace) for place, out in enumerate(told[:-1])] + [
        _entry(result, asked, cause, "result", trace)
    ]


def refusal(error: BackchannelError, cause: Message, asked: Asked, now: datetime, trace: str | None) -> Entry:
    """The result of a command that was not done."""
    fields = {
        "status": "denied" if isinstance(error, Forbidden) else "failed",
        "code": error.code,
        "message": error.message,
        "field": error.field,
        "retryable": error.retryable,
    }
    return _entry(refreshed(cause, asked, now, fields), asked, cause, "result", trace)


def refreshed(cause: Message, asked: Asked, now: datetime, fields: Mapping[str, Any]) -> Outgoing:
    result = Result(
        message_id=uuid5(FAMILY, f"{asked.agent}:{cause.message_id}:result"),
        timestamp=now,
        sender_agent_id=PLATFORM,
        in_reply_to=str(cause.message_id),
        trace_id=cause.trace_id,
        **fields,
    )
    return Outgoing(InInbox(asked.agent, "result"), cause.lane, result)


def _with_ids(events: tuple[Outgoing, ...], cause: Message, asked: Asked) -> list[Outgoing]:
    """The first event that tells the cause itself keeps its id; the others derive theirs."""
    kept = next((out for out in events if out.message.type == cause.type), None)
    return [
        out
        if out is kept
        else Outgoing(
            out.to,
            out.lane,
            out.message.model_copy(
                update={"message_id": uuid5(FAMILY, f"{asked.agent}:{cause.message_id}:{place}")}
            ),
        )
        for place, out in enumerate(events)
    ]


def _entry(out: Outgoing, asked: Asked, cause: Message, suffix: str, trace: str | None) -> Entry:
    headers = {
        "Nats-Msg-Id": f"{asked.agent}:{cause.message_id}:{suffix}",
        "Bc-Type": out.message.type,
        "Bc-Lane": out.lane.value,
    }
    if trace:
        headers["traceparent"] = trace
    return Entry(out.to.subject(asked.group, out.lane.value), write(out.message), headers)
