"""The field policy: what must not lie in a trail for ever is replaced by digests before it is written.

Secrets are found by the name of their field, and tokens by their look. Their digest is keyed (HMAC), so that
nobody can find a short password by trying; the same secret has the same digest on one platform. Long values
become their SHA-256 and size, so that what was meant can be proven later without keeping it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

from backchannel.domain.canonical import canonical

LONGEST = 2_048
"""Bytes of one text that are kept as they are."""
LARGEST = 16_384
"""Bytes that all facts of one record may have; the largest of them give way."""
DEEPEST = 12
MOST = 256
"""Members of one list or mapping that are kept."""
SAFE_NUMBER = 2**53

SECRET_WORDS = frozenset(
    {
        "token", "tokens", "password", "passwd", "passphrase", "pwd", "pass", "secret", "secrets", "key",
        "keys", "apikey", "authorization", "auth", "credential", "credentials", "cookie", "cookies", "bearer",
        "jwt", "private", "seed", "nonce", "signature", "grant", "session",
    }
)  # fmt: skip
PUBLIC_ENDINGS = frozenset(
    {"id", "ids", "name", "names", "count", "type", "kind", "digest", "hash", "at", "ttl"}
)
"""A name that ends so tells about a secret and does not hold it: ``token_id``, ``key_type``."""
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_KEY_BLOCK = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*", re.DOTALL)


class Policy:
    """Makes facts fit for the trail.

    Args:
        pepper: the key of the digests of secrets. Without one, nothing is left of a secret but its length.
    """

    def __init__(self, pepper: bytes = b"") -> None:
        self._pepper = pepper

    def applied(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """The facts without secrets, of bounded size, and of nothing but what canonical JSON can say."""
        kept = self._members(facts, 0)
        sizes = {name: len(canonical(value)) for name, value in kept.items()}
        while sum(sizes.values()) > LARGEST:
            largest = max(sizes, key=lambda name: (sizes[name], name))
            if sizes[largest] <= 128:
                return _abridged(kept)
            kept[largest] = _abridged(kept[largest])
            sizes[largest] = len(canonical(kept[largest]))
        return kept

    def _members(self, found: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for number, (name, value) in enumerate(found.items()):
            if number == MOST:
                kept["…"] = f"{len(found) - MOST} more"
                break
            said = _clean(str(name))[:256]
            secret = is_secret(said) and not isinstance(value, bool | None)
            kept[self._masked(said)] = self._hidden(value) if secret else self._value(value, depth + 1)
        return kept

    def _value(self, value: Any, depth: int) -> Any:
        match value:
            case None | bool():
                return value
            case int() if abs(value) <= SAFE_NUMBER:
                return value
            case float() if value == value and abs(value) != float("inf"):
                return value
            case bytes():
                return _abridged_bytes(value)
            case str():
                return self._text(_clean(value))
            case Mapping() | list() | tuple() | set() | frozenset() if depth > DEEPEST:
                return f"nested more than {DEEPEST} deep"
            case Mapping():
                return self._members(value, depth)
            case list() | tuple():
                more = [f"{len(value) - MOST} more"] if len(value) > MOST else []
                return [*(self._value(member, depth + 1) for member in value[:MOST]), *more]
            case set() | frozenset():
                return self._value(sorted(value, key=str), depth)
        return self._text(_clean(_shown(value)))

    def _text(self, text: str) -> str | dict[str, Any]:
        text = self._masked(text)
        written = text.encode()
        return text if len(written) <= LONGEST else _abridged_bytes(written)

    def _masked(self, text: str) -> str:
        for pattern in (_KEY_BLOCK, _JWT, _BEARER):
            text = pattern.sub(lambda found: str(self._hidden(found.group())["redacted"]), text)
        return text

    def _hidden(self, value: Any) -> dict[str, Any]:
        written = value if isinstance(value, bytes) else _clean(_shown(value)).encode()
        if not self._pepper:
            return {"redacted": "not kept", "bytes": len(written)}
        keyed = hmac.new(self._pepper, written, hashlib.sha256).hexdigest()
        return {"redacted": f"hmac-sha256:{keyed[:32]}", "bytes": len(written)}


def is_secret(name: str) -> bool:
    """Whether a field of this name holds a secret: ``apiKey``, ``X-Memory-Auth``, ``db_password``."""
    words = [word.lower() for word in _WORDS.findall(name)]
    return bool(words) and words[-1] not in PUBLIC_ENDINGS and not SECRET_WORDS.isdisjoint(words)


def _clean(text: str) -> str:
    """Without half characters, which UTF-8 cannot say."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _shown(value: Any) -> str:
    try:
        return value if isinstance(value, str) else str(value)
    except (ValueError, RecursionError):  # a number of more digits than Python writes, a circle
        return f"a {type(value).__name__} that cannot be written"


def _abridged(value: Any) -> dict[str, Any]:
    return _abridged_bytes(value.encode() if isinstance(value, str) else canonical(value))


def _abridged_bytes(written: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(written).hexdigest(), "bytes": len(written)}
