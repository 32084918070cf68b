"""Identifiers: the grammar that makes a name one subject token."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import StringConstraints

from backchannel.errors import BadMessage

PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
_WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

Identifier = Annotated[str, StringConstraints(pattern=PATTERN, strict=True)]
"""An agent, group, context, tool or topic. Never holds a dot, a wildcard or a space."""

MAIN = "main"
"""The context that everyone in a group shares."""

PLATFORM = "backchannel"
"""Who speaks when the platform itself does; nobody else may bear this name."""

OPERATOR = "operator"
"""Who speaks when whoever runs the platform does, with its secrets at hand; no token may bear this name."""

LOGINS = ("platform", "operator", "steward", "system", "bridge", "handlers", "route")
"""Who the parts of a platform are at their NATS servers (`nats/*.conf`), which let them in by themselves."""

SPOKESMEN = ("callback", "curator", "unknown")
"""Whom the platform names where no agent stands behind a request or a record."""

RESERVED_NAMES = frozenset({PLATFORM, OPERATOR, *LOGINS, *SPOKESMEN})
"""Nobody who shows a token may bear any of these: refused where tokens are made, and at every door."""


def is_identifier(text: str) -> bool:
    return _WELL_FORMED.fullmatch(text) is not None


def is_reserved(name: str) -> bool:
    """Whether only the platform may bear this name; one that differs by case alone would be taken for it."""
    return name.lower() in RESERVED_NAMES


def require_identifier(text: str, what: str) -> str:
    """Return ``text`` if it may become a subject token.

    Raises:
        BadMessage: it may not; the message names ``what`` and the grammar.
    """
    if is_identifier(text):
        return text
    raise BadMessage(
        f"The {what} {text[:80]!r} is not a valid name: use letters, digits, '_' and '-',"
        " starting with a letter or digit, 64 characters at most.",
        field=what,
    )
