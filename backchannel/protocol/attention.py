"""Attention: what a client wants to hear, has received, has handled, and asks."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from backchannel.protocol.identifier import Identifier
from backchannel.protocol.lane import LANES, Lane
from backchannel.protocol.message import Checked, Message, ShortText, Text, Way


def _few(spans: object) -> object:
    """Looked at before each of them is."""
    if isinstance(spans, dict) and len(spans) > len(LANES):
        raise ValueError(f"there are {len(LANES)} lanes, and these are {len(spans)} spans")
    return spans


class Handled(Message):
    """Say that a message has been dealt with, has failed, or will be dealt with later."""

    way: ClassVar[Way] = Way.STATEFUL
    type: Literal["handled"] = "handled"
    handles: ShortText
    status: Literal["done", "failed", "deferred"]
    detail: Text | None = None
    handles_cursor: ShortText | None = None

    # Filled by the platform:
    taken_for: Annotated[list[str], Checked] | None = None
    taken_by: Identifier | None = None

    example: ClassVar[dict[str, Any]] = {"handles": "…", "status": "done"}


class SubscriptionUpdate(Message):
    """Choose what this connection hears."""

    way: ClassVar[Way] = Way.CONNECTION
    type: Literal["subscription_update"] = "subscription_update"
    mode: Literal["relevant", "focused", "everything"]
    focus: Annotated[list[ShortText], Field(max_length=256)] = []
    peripheral_awareness: bool = True

    example: ClassVar[dict[str, Any]] = {"mode": "focused", "focus": ["tls"]}


class Infodump(Message):
    """Ask for everything: since a time, up to a time, matching a pattern, or from now on.

    ``since`` and ``until`` are times or cursors, both included; ``pattern`` is a part of the text, in any
    case, with ``*`` and ``?`` for what may be anything. ``spans`` is what a ``gap`` said: of each lane only
    that stretch. ``after`` goes on behind an earlier page of at most ``limit`` events; 0 asks for the cost.
    """

    way: ClassVar[Way] = Way.CONNECTION
    type: Literal["infodump"] = "infodump"
    since: ShortText | None = None
    until: ShortText | None = None
    pattern: ShortText | None = None
    spans: Annotated[dict[Lane, tuple[ShortText, ShortText]], BeforeValidator(_few)] | None = None
    after: ShortText | None = None
    limit: Annotated[int, Field(ge=0, le=10_000)] = 1000

    example: ClassVar[dict[str, Any]] = {"since": "2026-01-31T12:00:00Z"}


class QualityUpdate(Message):
    """Declare how slow the line is and what to do about it."""

    way: ClassVar[Way] = Way.CONNECTION
    type: Literal["quality_update"] = "quality_update"
    slow_connection: Literal["summaries", "full_delayed", "critical_only"]
    mbps: Annotated[float, Field(ge=0)] | None = None
    required_data: Annotated[list[ShortText], Field(max_length=256)] = []
    batchable_data: Annotated[list[ShortText], Field(max_length=256)] = []

    example: ClassVar[dict[str, Any]] = {"slow_connection": "summaries", "mbps": 0.5}


class Query(Message):
    """Ask for something that is known; the answer is a ``result``."""

    way: ClassVar[Way] = Way.QUERY
    type: Literal["query"] = "query"
    query: Identifier
    params: dict[str, Any] = {}

    example: ClassVar[dict[str, Any]] = {"query": "context", "params": {"context_id": "main"}}


class Renew(Message):
    """Replace the token of this connection by a fresh one of the same entity."""

    way: ClassVar[Way] = Way.CONNECTION
    type: Literal["renew"] = "renew"
    token: Annotated[str, Field(min_length=1, max_length=16_384)]

    example: ClassVar[dict[str, Any]] = {"token": "…"}
