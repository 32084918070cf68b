"""From a decision to the entries the log is given: ids, subjects and headers of every follow-up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import pydantic_core

from backchannel.domain.decision import Decision, Mark, Outgoing, Timer
from backchannel.errors import BackchannelError, Forbidden
from backchannel.jetstream.publish import Entry
from backchannel.protocol.catalog import write
from backchannel.protocol.identifier import PLATFORM
from backchannel.protocol.message import Message, rfc3339
from backchannel.protocol.result import Result
from backchannel.protocol.subject import Asked, InInbox, due_subject, order_subject, timer_subject

FAMILY = UUID("5b1c2a52-6f0e-4f0b-9b55-0d1f5b2f9f61")
"""The namespace in which ids of follow-ups are derived (RFC 9562, version 5)."""
DUE_KEPT = "168h"
"""How long a timer that has come due waits for somebody to answer it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What follow-ups come of: their ids derive from its own.

    ``type`` is that of a command: the first event of the same type tells the command itself and keeps its id.
    """

    group: str
    sender: str
    message_id: UUID
    type: str | None = None
    trace: str | None = None

    @property
    def key(self) -> str:
        return f"{self.sender}:{self.message_id}"


def origin_of(cause: Message, asked: Asked, trace: str | None) -> Origin:
    return Origin(asked.group, asked.agent, cause.message_id, cause.type, trace)


def entries(
    decision: Decision, cause: Message, asked: Asked, now: datetime, trace: str | None
) -> list[Entry]:
    """The follow-ups of a command, its sender's result last."""
    origin = origin_of(cause, asked, trace)
    result = refreshed(cause, asked, now, {"status": "success", **decision.result})
    return [*follow_ups(decision, origin), _entry(result, origin, "result")]


def follow_ups(decision: Decision, origin: Origin) -> list[Entry]:
    """Events, marks and timers. A repetition of the same decision makes the same entries."""
    told = [_entry(out, origin, f"e{place}") for place, out in enumerate(_with_ids(decision.events, origin))]
    wanted = [*map(Mark, decision.in_order), *decision.marks]
    marks = [_mark(mark, origin, f"o{place}") for place, mark in enumerate(wanted)]
    timers = [_timer(timer, origin, f"t{place}") for place, timer in enumerate(decision.timers)]
    return [*told, *marks, *timers]


def refusal(error: BackchannelError, cause: Message, asked: Asked, now: datetime, trace: str | None) -> Entry:
    """The result of a command that was not done."""
    fields: dict[str, Any] = {
        "status": "denied" if isinstance(error, Forbidden) else "failed",
        "code": error.code,
        "message": error.message,
        "field": error.field,
        "retryable": error.retryable,
    }
    if error.retry_after is not None:
        fields["retry_after"] = error.retry_after
    return _entry(refreshed(cause, asked, now, fields), origin_of(cause, asked, trace), "result")


def refreshed(cause: Message, asked: Asked, now: datetime, fields: Mapping[str, Any]) -> Outgoing:
    result = Result(
        message_id=uuid5(FAMILY, f"{asked.agent}:{cause.message_id}:result"),
        timestamp=now,
        sender_agent_id=PLATFORM,
        in_reply_to=asked.written_id or str(cause.message_id),
        trace_id=cause.trace_id,
        **fields,
    )
    return Outgoing(InInbox(asked.agent, "result"), cause.lane, result)


def _with_ids(events: tuple[Outgoing, ...], origin: Origin) -> list[Outgoing]:
    """The first event that tells the cause itself keeps its id; the others derive theirs."""
    kept = next((out for out in events if out.message.type == origin.type), None)
    return [
        out
        if out is kept or out.keeps_id
        else Outgoing(
            out.to,
            out.lane,
            out.message.model_copy(update={"message_id": uuid5(FAMILY, f"{origin.key}:{place}")}),
        )
        for place, out in enumerate(events)
    ]


def _entry(out: Outgoing, origin: Origin, suffix: str) -> Entry:
    headers = {
        "Nats-Msg-Id": f"{origin.key}:{suffix}",
        "Bc-Type": out.message.type,
        "Bc-Lane": out.lane.value,
    }
    if origin.trace:
        headers["traceparent"] = origin.trace
    return Entry(out.to.subject(origin.group, out.lane.value), write(out.message), headers)


def _mark(mark: Mark, origin: Origin, suffix: str) -> Entry:
    """Only the newest mark stays."""
    headers = {"Nats-Msg-Id": f"{origin.key}:{suffix}", "Nats-Rollup": "sub"}
    if mark.kept is not None:
        headers["Nats-TTL"] = f"{max(mark.kept, 1)}s"
    payload = pydantic_core.to_json(mark.content) if mark.content else b""
    return Entry(order_subject(origin.group, mark.what), payload, headers)


def _timer(timer: Timer, origin: Origin, suffix: str) -> Entry:
    """A scheduled message (ADR-51). One is stopped by a rollup: overwritten plainly it would come back."""
    place = (origin.group, timer.service, timer.name, timer.key)
    headers = {"Nats-Msg-Id": f"{origin.key}:{suffix}"}
    if timer.at is None:
        return Entry(timer_subject(*place), b"", {**headers, "Nats-Rollup": "sub", "Nats-TTL": "1s"})
    schedule = {
        "Nats-Schedule": f"@at {rfc3339(_no_earlier(timer.at))}",
        "Nats-Schedule-Target": due_subject(*place),
        "Nats-Schedule-TTL": DUE_KEPT,
    }
    if origin.trace:
        schedule["traceparent"] = origin.trace
    return Entry(timer_subject(*place), pydantic_core.to_json(timer.about), headers | schedule)


def _no_earlier(moment: datetime) -> datetime:
    """Whole milliseconds, rounded up: a timer that is early finds nothing to do."""
    moment = moment.astimezone(UTC)
    return moment + timedelta(microseconds=-moment.microsecond % 1000)
