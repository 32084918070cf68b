"""Seals: keyed digests on what the platform stores about sessions; nobody else can make or change it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence

_FIELD = b',"seal":"'
_LENGTH = len(_FIELD) + 64 + len(b'"}')


class Tampered(ValueError):
    """A stored record does not bear our seal: somebody else wrote or changed it."""


class Seals:
    """The first key seals; each of them is believed, so that keys can be replaced."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)

    def sealed(self, place: str, body: bytes) -> bytes:
        """A JSON object with one more field: a digest over it and the key it is stored under."""
        return body[:-1] + _FIELD + _mac(self._keys[0], b"record", place.encode(), body).encode() + b'"}'

    def opened(self, place: str, payload: bytes) -> bytes:
        """The object without its seal. Raises Tampered."""
        body, field = payload[:-_LENGTH] + b"}", payload[-_LENGTH:]
        if field.startswith(_FIELD):
            said = field[len(_FIELD) : -2]
            for key in self._keys:
                if hmac.compare_digest(said, _mac(key, b"record", place.encode(), body).encode()):
                    return body
        raise Tampered("The record does not bear the platform's seal.")

    def digest(self, owner: str, session: str) -> str:
        """What is kept of a session token; it is good for one agent of one group."""
        return self._digests(owner, session)[0]

    def knows(self, owner: str, session: str, digests: Iterable[str]) -> bool:
        """Whether the session token is one of those that these were made of."""
        offered = self._digests(owner, session)
        return any(hmac.compare_digest(one, known) for known in digests for one in offered)

    def _digests(self, owner: str, session: str) -> list[str]:
        said = session.encode("utf-8", "surrogatepass")
        return [_mac(key, b"session", owner.encode(), said) for key in self._keys]


def _mac(key: bytes, *parts: bytes) -> str:
    return hmac.new(key, b"\0".join(parts), hashlib.sha256).hexdigest()
