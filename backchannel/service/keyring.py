"""The keyring: which tokens are believed here and now; the same for every way in."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable

from backchannel.delivery import token as tokens
from backchannel.delivery.keys import Key, Keys
from backchannel.protocol.claims import Claims
from backchannel.service.rights import RightsInForce

MOST_VERIFIED = 10_000


class Revoked(tokens.BadToken):
    """The token was good, and is not believed any more."""


class SentAway(tokens.BadToken):
    """The token is good, but its bearer is not let in for a while."""


class NoNonce(tokens.BadToken):
    """The token could be used again and again, which is switched off here."""


class WrongGroup(tokens.BadToken):
    """The token is good, but for a group that is not served here."""


class Keyring:
    """Believes tokens, and remembers for a while which ones it believed.

    Args:
        keys: a secret, or what says which keys count now; asked each time, so that new ones need no restart.
        clock: seconds since 1970, UTC.
        groups: who is served here; a token for another group is a bad one.
        rights: what narrows or revokes tokens.
        nonce_needed: whether only tokens for one connection are believed.
    """

    def __init__(
        self,
        keys: bytes | Callable[[], Keys],
        clock: Callable[[], float],
        groups: Iterable[str],
        *,
        rights: RightsInForce | None = None,
        nonce_needed: bool = False,
        most: int = MOST_VERIFIED,
    ) -> None:
        self.rights = rights or RightsInForce()
        only = Keys(Key(keys)) if isinstance(keys, bytes) else None
        self._keys = keys if callable(keys) else lambda: only or Keys(Key(b""))
        self._clock = clock
        self._groups = frozenset(groups)
        self._nonce_needed = nonce_needed
        self._most = most
        self._trusted: tuple[str, ...] | None = None
        self._verified: OrderedDict[bytes, Claims] = OrderedDict()

    def verify(self, token: str) -> Claims:
        """What the token says. Raises Expired or BadToken, with a message that is for the log only."""
        claims, now = self._read(token), self._clock()
        if (why := self.rights.why_revoked(claims, now)) is not None:
            raise Revoked(why)
        if (why := self.rights.why_sent_away(claims, now)) is not None:
            raise SentAway(why)
        return claims if claims.iat <= now else self._seen(token, claims, now)

    def why_not_any_more(self, claims: Claims) -> str | None:
        """Why a token that was verified before is not believed now; None if it is."""
        now = self._clock()
        if claims.kid is None:
            return f"Nobody knows which key signed the token of {claims.sub!r}."
        if not self._keys().trusts(claims.kid, now):
            return f"The key {claims.kid} that signed the token of {claims.sub!r} was retired."
        return self.rights.why_refused(claims, now)

    def changed(self) -> bool:
        """Whether other keys are believed than at the last call: the file has changed, or one has lapsed."""
        former, self._trusted = self._trusted, self._keys().good(self._clock())
        return former is not None and former != self._trusted

    def _read(self, token: str) -> Claims:
        keys, now = self._keys(), self._clock()
        digest = _digest(token)
        known = self._verified.get(digest)
        if known is not None and known.exp > now and known.kid and keys.trusts(known.kid, now):
            self._verified.move_to_end(digest)
            return known
        self._verified.pop(digest, None)
        claims = tokens.verify(token, keys, now)
        self._check_group(claims)
        if claims.nonce is None:  # a token for one connection is looked at each time
            self._check_reusable(claims)
            self._remember(digest, claims)
        return claims

    def _seen(self, token: str, claims: Claims, now: float) -> Claims:
        """A token dated ahead was made by now at the latest: what is revoked later is this one, too."""
        seen = claims.model_copy(update={"iat": int(now)})
        if claims.nonce is None:
            self._remember(_digest(token), seen)
        return seen

    def _check_group(self, claims: Claims) -> None:
        group = claims.collaboration_group
        if group not in self._groups:
            raise WrongGroup(f"The token of {claims.sub!r} is for the group {group!r}, not served here.")

    def _check_reusable(self, claims: Claims) -> None:
        if self._nonce_needed:
            raise NoNonce(f"The token of {claims.sub!r} has no nonce, and bearer tokens are switched off.")

    def _remember(self, digest: bytes, claims: Claims) -> None:
        self._verified[digest] = claims
        if len(self._verified) > self._most:
            self._verified.popitem(last=False)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
