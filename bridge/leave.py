"""Leave to answer one request: how it comes in a header, and whether supervision gave it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from backchannel.domain.supervision.callback import AUDIENCE, Leave
from backchannel.errors import Forbidden
from backchannel.protocol.identifier import is_identifier

if TYPE_CHECKING:
    from bridge.question import Question

ASK_AGAIN = 10.0
"""Seconds between two questions for the key, however many leaves come that it does not fit."""


class Shown(NamedTuple):
    """What somebody shows, and the group it says it is for."""

    text: str
    group: str


def leave_in(authorization: str) -> Shown | None:
    """The leave in an Authorization header; None for anything else, a token for instance."""
    scheme, _, text = authorization.partition(" ")
    if scheme.lower() != "bearer":
        return None
    try:
        said = jwt.decode(text.strip(), options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        return None
    group = said.get("group")
    if said.get("aud") != AUDIENCE or not isinstance(group, str) or not is_identifier(group):
        return None
    return Shown(text.strip(), group)


class Leaves:
    """Tells leaves that supervision gave from all others, so that these go no further.

    The key is that of the handlers, who are asked for it when a leave comes that it does not fit.
    """

    def __init__(self, question: Question) -> None:
        self._question = question
        self._keys: dict[str, tuple[Ed25519PublicKey, float]] = {}

    async def verified(self, shown: Shown, now: float) -> Leave:
        """
        Args:
            now: seconds since 1970, UTC. The group is one that is served here.

        Raises:
            Expired: it was good once.
            Forbidden: supervision did not give it.
            Unavailable: the handlers do not say their key now.
        """
        known = self._keys.get(shown.group)
        if known is not None:
            try:
                return Leave.read(shown.text, known[0], now)
            except Forbidden:
                if now < known[1] + ASK_AGAIN:
                    raise
        key = await self._question.grant_key(shown.group)
        self._keys[shown.group] = key, now
        return Leave.read(shown.text, key, now)
