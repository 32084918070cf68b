"""Moments: when a request is to be asked again, as people say it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from backchannel.errors import BadMessage

LONGEST = 30 * 86_400.0
"""Seconds for which a request may be put off."""


def moment(said: Any, now: datetime) -> datetime:
    """A moment as an answer may say it: seconds from now, or RFC 3339; bare or as ``after`` or ``at``."""
    match said:
        case {"after": inner} | {"at": inner} | {"seconds": inner}:
            return moment(inner, now)
        case bool():
            at = None
        case int() | float():
            at = now + timedelta(seconds=said) if 0 < said <= LONGEST else None
        case str() if said.isdecimal():
            return moment(int(said), now)
        case str():
            at = _read(said)
        case _:
            at = None
    if at is None or not now < at <= now + timedelta(seconds=LONGEST):
        raise BadMessage(
            "'reschedule' takes seconds from now, or a moment to come (RFC 3339), thirty days ahead at most.",
            field="reschedule",
        )
    return at


def _read(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
