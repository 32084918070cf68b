"""Composing: a message with its id and time, ready to be sent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import uuid4

from pydantic import ValidationError

from backchannel.protocol.catalog import AnyMessage, bad_message, read_message
from backchannel.protocol.message import Message

M = TypeVar("M", bound=Message)


def compose(kind: type[M], **fields: Any) -> M:
    """A message of this kind; fields that are None are left out, `message_id` and `timestamp` are filled in.

    Raises:
        BadMessage: a field is missing or wrong; `field` names the first one.
    """
    try:
        return kind.model_validate(_completed({k: v for k, v in fields.items() if v is not None}))
    except ValidationError as error:
        raise bad_message(error) from None


def as_message(message: Message | Mapping[str, Any]) -> AnyMessage | Message:
    """A message as it is, or made from its fields, `type` among them.

    Raises:
        UnknownType: no message has this type.
        BadMessage: a field is missing or wrong.
    """
    if isinstance(message, Message):
        return message
    return read_message(_completed(dict(message)))


def _completed(fields: dict[str, Any]) -> dict[str, Any]:
    fields.setdefault("message_id", str(uuid4()))
    fields.setdefault("timestamp", datetime.now(UTC).isoformat())
    return fields
