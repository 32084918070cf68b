"""Outcomes: from what the platform answered to a value, or to the exception it stands for."""

from __future__ import annotations

from typing import Any

from backchannel.errors import BY_CODE, BackchannelError, Forbidden, Internal
from backchannel.protocol.frame import ErrorFrame
from backchannel.protocol.result import Result

_ENVELOPE = frozenset({"type", "in_reply_to", "status", "message_id", "timestamp", "sender_agent_id"})


def refused(error: ErrorFrame) -> BackchannelError:
    """The exception that an error frame stands for."""
    return BY_CODE.get(error.code, Internal)(error.message, field=error.field, retry_after=error.retry_after)


def successful(result: Result) -> Result:
    """The result, if it is a success.

    Raises:
        BackchannelError: it was denied or failed; the class is that of its code.
    """
    if result.status != "success":
        raise _failure(result.status, result.model_dump())
    return result


def answer(frame: dict[str, Any]) -> dict[str, Any]:
    """The own fields of the answer to a query. Raises as `successful`."""
    if frame.get("status") != "success":
        raise _failure(str(frame.get("status")), frame)
    return {name: value for name, value in frame.items() if name not in _ENVELOPE}


def _failure(status: str, fields: dict[str, Any]) -> BackchannelError:
    kind = BY_CODE.get(str(fields.get("code")), Forbidden if status == "denied" else Internal)
    said = fields.get("message") or f"The platform answered {status} without saying why."
    field, later = fields.get("field"), fields.get("retry_after")
    return kind(
        str(said),
        field=field if isinstance(field, str) else None,
        retry_after=float(later) if isinstance(later, int | float) else None,
    )
