"""Results: what a handler decided about a command, kept in the sender's inbox."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from backchannel.protocol.identifier import Identifier
from backchannel.protocol.message import Message, Text


class Result(Message):
    """The outcome of what a handler decides. Its own fields stand beside these."""

    type: Literal["result"] = "result"
    in_reply_to: str
    status: Literal["success", "denied", "failed"]
    code: str | None = None
    message: Text | None = None
    sidebar_id: Identifier | None = None

    example: ClassVar[dict[str, Any]] = {"in_reply_to": "…", "status": "success", "sidebar_id": "logins"}
