"""Continuity: counting what comes, and comparing with what the bridge says it has sent."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from backchannel.delivery.cursor import Cursor
from backchannel.errors import BadMessage

PATIENCE = 3
"""Mismatches in a row after which comparing is given up: then it is the counting that is wrong."""
_log = logging.getLogger("backchannel.client")


@dataclass(slots=True)
class Continuity:
    """What both sides counted.

    Attributes:
        delivered: events that came on the current connection.
        verified: the cursor up to which both sides agreed last; what lies behind may have to come again.
        checks: how often they agreed.
        mismatches: how often they did not, and the agent resumed from `verified`.
    """

    delivered: int = 0
    verified: str | None = None
    checks: int = 0
    mismatches: int = 0
    _in_a_row: int = 0
    _from: str | None = None

    def begin(self, cursor: str) -> None:
        """A new connection goes on behind `cursor`."""
        self.delivered = 0
        self.verified, self._from = cursor, None

    def count(self, frame: dict[str, Any]) -> None:
        """Note the events a frame brings; history that was asked for counts for nothing."""
        match frame:
            case {"type": "catch_up" | "batch" | "coalesced_update"}:
                self.delivered += 0 if "infodump" in frame else len(unpacked(frame))
            case {"cursor": str(), "message_id": str()}:
                self.delivered += 1

    def agrees(self, cursor: str, delivered: int) -> bool:
        """The bridge says how far it has got; False if the client has to resume from `verified`."""
        if delivered == self.delivered:
            self.verified, self._in_a_row = cursor, 0
            self.checks += 1
            return True
        if self._in_a_row >= PATIENCE:
            return True
        self._in_a_row += 1
        self.mismatches += 1
        self._from = self.verified
        _log.warning("The platform has sent %d events, and %d came; resuming.", delivered, self.delivered)
        return False

    def resume_from(self, position: str | None) -> str | None:
        """The cursor to resume from after a mismatch, never behind `position`; None if there was none."""
        if self._from is None:
            return None
        return min(self._from, position or self._from, key=_order)


def unpacked(frame: dict[str, Any]) -> list[Any]:
    """The events in a frame that holds several."""
    held = frame.get("updates" if frame["type"] == "coalesced_update" else "events")
    return held if isinstance(held, list) else []


def _order(cursor: str) -> int:
    try:
        return Cursor.parse(cursor).sequence
    except BadMessage:  # not one of ours
        return 0
