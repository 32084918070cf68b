"""The field policy: what must not lie in a trail for ever is replaced by digests before it is written.

Secrets are found by the name of their field, by their place in a text, and by their look (see `secret`).
Their digest is keyed (HMAC), so that nobody can find a short password by trying; the same secret has the same
digest on one platform. Long values become their SHA-256 and size, so that what was meant can be proven later
without keeping it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

from backchannel.domain.audit.secret import hidden, is_option, is_secret, last_word, within_argument
from backchannel.domain.canonical import canonical

LONGEST = 2_048
"""Bytes of one text that are kept as they are."""
LARGEST = 16_384
"""Bytes that all facts of one record may have; the largest of them give way."""
MOST_READ = 262_144
"""Characters of one record's longer and deeper texts that are searched for secrets. What is beyond that is
not kept at all, and is known by a keyed digest alone."""
DEEPEST = 12
MOST = 256
"""Members of one list or mapping that are kept."""
SAFE_NUMBER = 2**53

NAMES = frozenset(
    {
        *(
            "name",
            "key",
            "header",
            "field",
            "param",
            "parameter",
            "variable",
            "var",
            "env",
            "setting",
            "option",
        ),
        *("k", "type", "label", "prompt", "title", "property", "attribute", "set"),
    }
)
VALUES = frozenset(
    {
        *(
            "value",
            "val",
            "v",
            "content",
            "default",
            "data",
            "text",
            "current",
            "new",
            "old",
            "values",
            "answer",
        ),
        *("input", "response", "to", "string"),
    }
)
"""How the halves of a pair are called: ``{"name": "DB_PASSWORD", "value": "…"}``."""


class Policy:
    """Makes facts fit for the trail.

    Args:
        pepper: the key of the digests of secrets. Without one, nothing is left of a secret but its length.
    """

    def __init__(self, pepper: bytes = b"") -> None:
        self._pepper = pepper
        self._left = 0

    def applied(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """The facts without secrets, of bounded size, and of nothing but what canonical JSON can say."""
        self._left = MOST_READ
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
        pair = _names_a_secret(found)
        for number, (name, value) in enumerate(found.items()):
            if number == MOST:
                kept["…"] = f"{len(found) - MOST} more"
                break
            said = _clean(str(name))[:256]
            secret = (is_secret(said) or (pair and last_word(said) in VALUES)) and not isinstance(
                value, bool | None
            )
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
                return self._text(_clean(value), depth)
            case Mapping() | list() | tuple() | set() | frozenset() if depth > DEEPEST:
                return f"nested more than {DEEPEST} deep"
            case Mapping():
                return self._members(value, depth)
            case list() | tuple():
                return self._list(value, depth)
            case set() | frozenset():
                return self._value(sorted(value, key=str), depth)
        return self._text(_clean(_shown(value)), depth)

    def _list(self, members: Sequence[Any], depth: int) -> list[Any]:
        """What follows an option that takes a secret is one, and so is the other half of a pair."""
        kept: list[Any] = []
        before: Any = None
        pair = len(members) == 2 and isinstance(members[0], str) and _is_bare_secret_name(members[0])
        for number, member in enumerate(members[:MOST]):
            follows = isinstance(before, str) and is_option(before) and isinstance(member, str | int)
            if (follows and not _is_option(member)) or (pair and number == 1):
                kept.append(self._hidden(member))
            else:
                kept.append(self._value(self._without_argument(members, number), depth + 1))
            before = member
        return [*kept, f"{len(members) - MOST} more"] if len(members) > MOST else kept

    def _without_argument(self, members: Sequence[Any], number: int) -> Any:
        """A member of a list, without what is a secret in it because of what stands before it."""
        member, before = members[number], members[number - 1] if number else ""
        if not isinstance(member, str) or not isinstance(before, str) or not isinstance(members[0], str):
            return member
        secret = within_argument(before, member, members[0])
        return member if secret is None else member.removesuffix(secret) + self._shown_instead(secret)

    def _text(self, text: str, depth: int) -> str | dict[str, Any]:
        if depth > 1 or len(text) > LONGEST:
            self._left -= len(text)
            if self._left < 0:
                return self._hidden(text)
        text = self._masked(self._without_those_in_json(text, depth))
        written = text.encode()
        return text if len(written) <= LONGEST else _abridged_bytes(written)

    def _masked(self, text: str) -> str:
        return hidden(text, self._shown_instead)

    def _without_those_in_json(self, text: str, depth: int) -> str:
        """A text that is JSON is gone through like any other facts; one without secrets stays as it is."""
        if text.lstrip()[:1] not in ("{", "[") or depth > DEEPEST:
            return text
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            return text
        kept = self._value(said, depth + 1)
        return text if kept == said else json.dumps(kept, ensure_ascii=False)

    def _shown_instead(self, secret: str) -> str:
        return str(self._hidden(secret)["redacted"])

    def _hidden(self, value: Any) -> dict[str, Any]:
        written = value if isinstance(value, bytes) else _clean(_shown(value)).encode()
        if not self._pepper:
            return {"redacted": "not kept", "bytes": len(written)}
        keyed = hmac.new(self._pepper, written, hashlib.sha256).hexdigest()
        return {"redacted": f"hmac-sha256:{keyed[:32]}", "bytes": len(written)}


def _names_a_secret(found: Mapping[Any, Any]) -> bool:
    """Whether a mapping is a pair whose name is that of a secret."""
    said = [value for name, value in found.items() if last_word(str(name)[:256]) in NAMES]
    return any(isinstance(value, str) and is_secret(value[:256]) for value in said)


def _is_bare_secret_name(text: str) -> bool:
    return len(text) <= 64 and is_secret(text) and not any(letter in text for letter in " =:/")


def _is_option(member: Any) -> bool:
    return isinstance(member, str) and member.startswith("-")


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
