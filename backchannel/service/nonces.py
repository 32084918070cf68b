"""Nonces: a token that has one opens one connection, whichever door it comes to."""

from __future__ import annotations

import hashlib
import math

from backchannel.errors import Conflict
from backchannel.jetstream.bucket import Bucket
from backchannel.protocol.claims import Claims


class Nonces:
    """Every nonce that was used, in BC_nonces, until its token lapses."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def spend(self, claims: Claims, user: str, now: float) -> bool:
        """Use the token's nonce; whether that was possible. One user may ask again, when an answer was lost.

        Raises Unavailable.
        """
        assert claims.nonce is not None
        said = f"{claims.sub}\0{claims.nonce}".encode()
        key = f"{claims.collaboration_group}.{hashlib.sha256(said).hexdigest()[:40]}"
        try:
            await self._bucket.update(key, user.encode(), 0, ttl=math.ceil(max(1.0, claims.exp - now)) + 1)
        except Conflict:
            found = await self._bucket.get(key)
            return found is not None and found.payload == user.encode()
        return True
