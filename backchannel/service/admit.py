"""Admitting: from a message that was let in to the entries it is stored as, whichever door it came by."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid5

import pydantic_core

from backchannel.delivery.admission import context_of
from backchannel.delivery.calls import NOBODY, Called, text_of
from backchannel.errors import BadMessage, TooLarge, Unavailable
from backchannel.jetstream.entry import Entry
from backchannel.protocol.catalog import AnyMessage
from backchannel.protocol.claims import Claims
from backchannel.protocol.emergency import CriticalFailure, SecurityEmergency
from backchannel.protocol.identifier import MAIN
from backchannel.protocol.lane import Lane
from backchannel.protocol.memory import MemoryUpdate
from backchannel.protocol.mention import MentionRoute
from backchannel.protocol.message import Way, rfc3339
from backchannel.protocol.presence import AgentPresence
from backchannel.protocol.sidebar import SidebarMessage
from backchannel.protocol.subject import Destination, InContext, InInbox, ToEveryone, command_subject
from backchannel.protocol.supervision import ToolRequest
from backchannel.service.follow import FAMILY

TRACE_PARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
IN_UTC = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?Z")
CLAIMS = {"entity_type", "human_supervisor", "sidebar_access"}
"""What handlers are told of a sender's token,"""

CLAIMS_OF_TOOLS = CLAIMS | {"human_partner", "tools", "tool_chains", "supervision_level"}
"""and what they need beside that to decide about tools."""

MOST_STORED = 1_572_864
"""Bytes that one stored message may have."""

MOST_ADDED = 4_194_304
"""Bytes that one message may add to the log, with a copy for everybody whom it names, and all headers."""

EXCERPT = 4_000
"""Characters of a text that whoever it calls finds in its inbox; the whole text is where it was said."""

FILLED_BY_PLATFORM = ("cursor", "status", "old_status", "members", "by", "cause")
"""Fields of a sidebar's message that only the platform fills."""


HOPS = "Bc-Hops"
"""The header that says how many messages led to this one; none says that it is the first."""


@dataclass(frozen=True, slots=True)
class Sender:
    """In whose name something is stored, and in which group: what a verified token says."""

    claims: Claims

    @property
    def agent(self) -> str:
        return self.claims.sub

    @property
    def group(self) -> str:
        return self.claims.collaboration_group


def entries_of(
    sender: Sender,
    content: dict[str, Any],
    message: AnyMessage,
    called: Called = NOBODY,
    hops: int = 0,
    at: str | None = None,
) -> list[Entry]:
    """What is to be stored. The payload is made once from what was read: canonical, unknown fields kept.

    Args:
        called: whom its text calls; each finds that in its inbox.
        hops: how many messages led to this one, as the platform counts.
        at: the sidebar whose participants are told that the sender is there (see `whereabouts`).

    Raises:
        TooLarge: it would take more bytes in the log than are allowed.
        Unavailable: nothing here answers a message of this type yet.
    """
    entries = _entries(sender, _signed(sender, content, message), message, called, at)
    require_bounded(entries)
    if hops:
        counted = {HOPS: str(hops)}
        return [Entry(one.subject, one.payload, {**one.headers, **counted}) for one in entries]
    return entries


def require_bounded(entries: Sequence[Entry]) -> None:
    """Raises TooLarge: one of them, or all together, would take more bytes than one message may."""
    longest = max((len(entry.payload) for entry in entries), default=0)
    if longest > MOST_STORED:  # a number may be written in many more digits than it was sent with
        raise TooLarge(f"It would take {longest} bytes in one piece of the log; {MOST_STORED} are allowed.")
    size = sum(entry.size for entry in entries)
    if size > MOST_ADDED:
        raise TooLarge(
            f"It would add {size} bytes to the log, in {len(entries)} copies and parts; {MOST_ADDED} are"
            " allowed. Say less, or name fewer: a long text can be stored once and referred to."
        )


def _entries(
    sender: Sender, content: dict[str, Any], message: AnyMessage, called: Called, at: str | None
) -> list[Entry]:
    if message.way is Way.STATEFUL:
        return [command_of(sender, content, message)]
    for name in _platforms_own(message):
        content.pop(name, None)
    match message:
        case MemoryUpdate(context_id=context_id):
            event = _event(sender, content, message, InContext(context_id, "memory"))
            return [event, *_calls(sender, content, message, called)]
        case SidebarMessage(sidebar_id=sidebar_id):
            event = _event(sender, content, message, InContext(sidebar_id, "talk"))
            return [event, *_calls(sender, content, message, called)]
        case MentionRoute():
            return _mentions(sender, content, message)
        case AgentPresence():
            return _presence(sender, content | {"agent_id": sender.agent}, message, at)
        case SecurityEmergency() | CriticalFailure():
            content |= {"type": f"{message.type}_broadcast", "priority_lane": True}
            return [_event(sender, content, message, ToEveryone("broadcast"))]
    raise Unavailable(f"This platform does not offer {message.type!r} yet.", field="type")


def _platforms_own(message: AnyMessage) -> tuple[str, ...]:
    match message:
        case SidebarMessage():
            return FILLED_BY_PLATFORM
        case MentionRoute():
            return ("cursor", "delegated_from", "in_message")
        case AgentPresence():
            return ("cursor", "active_sidebars")
    return ("cursor",)


def _presence(sender: Sender, content: dict[str, Any], message: AnyMessage, at: str | None) -> list[Entry]:
    """Everybody hears how an agent is. In which sidebar it is at work, those hear who are in there too."""
    shown = content
    if content.get("current_context") not in (None, MAIN):
        # Null and not left out: nobody takes it for the same as having been nowhere before.
        shown = content | {"current_context": None}
    told = [_event(sender, shown, message, ToEveryone("presence"))]
    if at is not None:
        subject = InContext(at, "presence").subject(sender.group, message.lane)
        told.append(Entry(subject, _written(content), _headers(sender, content, message, ":at")))
    return told


def _mentions(sender: Sender, content: dict[str, Any], mention: MentionRoute) -> list[Entry]:
    payload = _written(content)
    return [
        Entry(
            InInbox(target, "mention").subject(sender.group, mention.lane),
            payload,
            _headers(sender, content, mention, f":{target}"),
        )
        for target in dict.fromkeys(mention.target_agents)
    ]


def _calls(sender: Sender, content: Mapping[str, Any], message: AnyMessage, called: Called) -> list[Entry]:
    """A mention for each whom the text calls. Who may not see the text learns only that it was called."""
    if not called:
        return []
    urgent = message.lane.rank <= Lane.CRITICAL.rank
    known = {
        "type": "mention_route",
        "timestamp": content.get("timestamp"),
        "sender_agent_id": sender.agent,
        "priority": "urgent" if urgent else "normal",
    }
    lane = Lane.CRITICAL if urgent else Lane.NORMAL
    inside = known | {
        "message_id": _call_id(sender, message, "inside"),
        "target_agents": list(called.inside),
        "message": _excerpt(text_of(message)),
        "in_message": str(message.message_id),
    }
    context_id = context_of(message)
    if context_id not in (None, MAIN):
        inside["sidebar_id"] = context_id
    outside = known | {
        "message_id": _call_id(sender, message, "outside"),
        "message": f"{sender.agent} mentioned you in a sidebar that you are not in; ask to be invited.",
    }
    return [
        *(_call(sender, message, name, lane, inside) for name in called.inside),
        *(_call(sender, message, name, lane, outside | {"target_agents": [name]}) for name in called.outside),
    ]


def _call(sender: Sender, message: AnyMessage, name: str, lane: Lane, said: Mapping[str, Any]) -> Entry:
    headers = _headers(sender, said, message, f":{name}") | {"Bc-Lane": lane.value}
    return Entry(InInbox(name, "mention").subject(sender.group, lane), _written(said), headers)


def _call_id(sender: Sender, message: AnyMessage, who: str) -> str:
    return str(uuid5(FAMILY, f"{sender.agent}:{message.message_id}:called:{who}"))


def _excerpt(text: str) -> str:
    return text if len(text) <= EXCERPT else f"{text[:EXCERPT]}…"


def _event(sender: Sender, content: dict[str, Any], message: AnyMessage, to: Destination) -> Entry:
    subject = to.subject(sender.group, message.lane)
    return Entry(subject, _written(content), _headers(sender, content, message))


def command_of(sender: Sender, content: dict[str, Any], message: AnyMessage) -> Entry:
    """The message as a command, for a handler to decide, with what the sender's token says in a header."""
    content = _signed(sender, content, message)
    for name in ("cursor", "taken_for", "taken_by"):
        content.pop(name, None)
    held = CLAIMS_OF_TOOLS if isinstance(message, ToolRequest) else CLAIMS
    claims = sender.claims.model_dump(mode="json", include=held, exclude_none=True)
    headers = _headers(sender, content, message)
    headers["Bc-Claims"] = pydantic_core.to_json(claims).decode()
    subject = command_subject(sender.group, message.lane, sender.agent, message.type)
    entry = Entry(subject, _written(content), headers)
    require_bounded([entry])
    return entry


def _signed(sender: Sender, content: dict[str, Any], message: AnyMessage) -> dict[str, Any]:
    """With who says it, and when in the one form in which others may be told of a time."""
    said = content.get("timestamp")
    when = said if isinstance(said, str) and IN_UTC.fullmatch(said) else _in_utc(message.timestamp)
    return content | {"sender_agent_id": sender.agent, "timestamp": when}


def _in_utc(moment: datetime) -> str:
    try:
        return rfc3339(moment)
    except OverflowError:
        text = "The field 'timestamp' is not right: There is no such time in UTC."
        raise BadMessage(text, field="timestamp") from None


def _headers(
    sender: Sender, content: Mapping[str, Any], message: AnyMessage, suffix: str = ""
) -> dict[str, str]:
    headers = {
        "Nats-Msg-Id": f"{sender.agent}:{message.message_id}{suffix}",
        "Bc-Type": str(content["type"]),
        "Bc-Lane": message.lane.value,
    }
    trace = content.get("traceparent", message.trace_id)
    if isinstance(trace, str) and TRACE_PARENT.fullmatch(trace):
        headers["traceparent"] = trace
    return headers


def _written(content: Mapping[str, Any]) -> bytes:
    return pydantic_core.to_json(content, inf_nan_mode="null")
