"""Notices: what an inbox yields beside the messages themselves, and how a frame becomes either."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from backchannel.errors import Refused
from backchannel.protocol.catalog import AnyMessage, read_message
from backchannel.protocol.message import Message

_log = logging.getLogger("backchannel.client")


@dataclass(frozen=True, slots=True)
class Gap:
    """Events between two positions did not reach this agent; read again what you need, `Agent.fetch` does.

    `start` and `to` are cursors (None: unknown), `dropped` counts what is missing if that is known. `spans`
    says of each lane from where to where that was, if it was left out because this agent read too slowly.
    """

    reason: str
    start: str | None = None
    to: str | None = None
    dropped: int | None = None
    by_lane: dict[str, int] = field(default_factory=dict)
    spans: dict[str, tuple[str, str]] = field(default_factory=dict)


class Unknown(Message):
    """A message of a type this version does not know; its fields are in `model_extra`."""


Incoming = AnyMessage | Unknown | Gap
"""All that an inbox may yield."""


def cursor_of(message: Message) -> str | None:
    """The position of a message that came from the platform; None for one made here."""
    cursor = (message.model_extra or {}).get("cursor")
    return cursor if isinstance(cursor, str) else None


def read_event(content: dict[str, Any]) -> AnyMessage | Unknown | None:
    """The message in an event: `Unknown` if its type is new to us, None, with a warning, if it is none."""
    try:
        return read_message(content)
    except Refused as problem:
        return _read_unknown(content, problem)


def _read_unknown(content: dict[str, Any], problem: Refused) -> Unknown | None:
    try:
        return Unknown.model_validate(content)
    except ValidationError:
        _log.warning("An event at %s is not a message: %s", content.get("cursor"), problem.message)
        return None
