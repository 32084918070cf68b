"""What of a log entry is a secret, and is left out: by the name of a field, or by how it looks in a text."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any

REDACTED = "[redacted]"
_NAMES = (
    r"token|authorization|memory.auth|password|passwd|passphrase|secret|session|cookie|nonce|credential|pepper"
    r"|(?:api|private|signing|access)[_-]?key"
)
SECRET_NAMES = re.compile(rf"{_NAMES}|jwt|^seed$|^login$", re.IGNORECASE)
JWT = re.compile(r"e[yw][A-Za-z0-9_-]{6,1000}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
"""Base64url of a JSON object, twice, and a signature."""

IN_URL = re.compile(r"(?<=://)(?:[^\s/@:\"'<>]*:[^\s\"'<>]*|[^\s/@:\"'<>]+)@")
"""User and password in an address, also a password with a slash or another @ in it."""

NAMED = re.compile(
    rf"""((?:{_NAMES})["']?(?:\s?=\s?|["']?:\s?)["']?(?:(?:bearer|basic)\s)?)[^\s"',;&<>(){{}}\[\]]+""",
    re.IGNORECASE,
)
"""A secret behind its name in a text, as in a query, a header, JSON, or the words of an exception."""

BARE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[^-]|-(?!----))*(?:-----END [A-Z ]*PRIVATE KEY-----)?"
    r"|(?<![A-Z0-9])S[UAOCNX][A-Z2-7]{56}(?![A-Z0-9])"
    r"|(?<![A-Za-z0-9_+/=-])[A-Za-z0-9_-]{43}=?(?![A-Za-z0-9_+/=-])"
    r"|(?i:(?<![a-z])(?:bearer|basic) )[A-Za-z0-9._~+/-]{16,}=*"
)
"""A key by its looks: PEM, a seed of NATS, 32 bytes in base64url, and what follows the scheme in a header."""

LONGEST = 8192
LOOKED_AT = 8 * LONGEST


def redact(logger: Any, method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: the last one before the entry is written."""
    return {str(name): _clean(str(name), value, 0) for name, value in entry.items()}


def _clean(name: str, value: Any, depth: int) -> Any:
    if SECRET_NAMES.search(name):
        return REDACTED
    match value:
        case bool() | int() | float() | None:
            return value
        case Mapping() if depth < 5:
            return {str(key): _clean(str(key), one, depth + 1) for key, one in value.items()}
        case list() | tuple() | set() | frozenset() if depth < 5:
            return [_clean("", one, depth + 1) for one in value]
    return hide(str(value))


def hide(text: str) -> str:
    """A text without the secrets in it, and no longer than LONGEST characters or so."""
    cleaned = JWT.sub(REDACTED, text[:LOOKED_AT])
    cleaned = IN_URL.sub(f"{REDACTED}@", BARE.sub(REDACTED, cleaned))
    cleaned = NAMED.sub(rf"\1{REDACTED}", cleaned)
    if len(cleaned) <= LONGEST:
        return cleaned
    half = LONGEST // 2  # of a traceback, both ends say most
    return f"{cleaned[:half]} … {cleaned[-half:]}"
