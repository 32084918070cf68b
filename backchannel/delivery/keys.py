"""Keys that sign tokens: one signs, and those before it are believed until they lapse."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

MOST_FORMER = 16


@dataclass(frozen=True, slots=True)
class Key:
    """A secret of at least 32 bytes, and when it lapses (seconds since 1970); the current one does not."""

    secret: bytes = field(repr=False)
    until: float | None = None

    @property
    def kid(self) -> str:
        """Its name in the header of tokens; made from the secret, and says nothing about it."""
        return hashlib.sha256(b"backchannel key id\0" + self.secret).hexdigest()[:16]

    def good(self, now: float) -> bool:
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class Keys:
    """The key that signs, and the former ones, newest first."""

    current: Key
    former: tuple[Key, ...] = ()

    def candidates(self, kid: str | None, now: float) -> Iterator[Key]:
        """Keys that may have signed a token of this header at `now`; a token without `kid` may be of any."""
        return (
            key for key in (self.current, *self.former) if key.good(now) and (kid is None or key.kid == kid)
        )

    def trusts(self, kid: str, now: float) -> bool:
        """Whether what this key signed is believed now."""
        return any(self.candidates(kid, now))

    def good(self, now: float) -> tuple[str, ...]:
        """The ids of all keys that are believed now."""
        return tuple(key.kid for key in self.candidates(None, now))

    def rotated(self, secret: bytes, now: float, until: float) -> Keys:
        """With a new key that signs; the one before it is believed until `until`. Lapsed ones are dropped."""
        before = [Key(self.current.secret, until), *self.former]
        return Keys(Key(secret), tuple(key for key in before if key.good(now))[:MOST_FORMER])
