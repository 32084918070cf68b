"""Leave to answer one request: how it comes in a header, and whether supervision gave it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from backchannel.domain.supervision.callback import AUDIENCE, Leave
from backchannel.errors import Forbidden, Unavailable
from backchannel.protocol.identifier import is_identifier

if TYPE_CHECKING:
    from bridge.question import Question

ASK_AGAIN = 5.0
"""Seconds between two questions for a key, however many leaves come that do not fit."""


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

    The key is that of the handlers, who are asked for it at first, and again when a leave comes that it does
    not fit. Of those who show such leaves one waits for the answer, the others are refused.
    """

    def __init__(self, question: Question) -> None:
        self._question = question
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._asked: dict[str, float] = {}

    async def learn(self, groups: Iterable[str], now: float) -> None:
        """Ask for the keys that are not known yet. Raises Unavailable."""
        for group in groups:
            if group not in self._keys:
                await self._ask(group, now)

    async def verified(self, shown: Shown, now: float) -> Leave:
        """
        Args:
            now: seconds since 1970, UTC. The group is one that is served here.

        Raises:
            Expired: it was good once.
            Forbidden: supervision did not give it.
            Unavailable: the handlers do not say their key now.
        """
        key, due = self._keys.get(shown.group), now >= self._asked.get(shown.group, 0.0) + ASK_AGAIN
        if key is not None:
            try:
                return Leave.read(shown.text, key, now)
            except Forbidden:
                if not due:
                    raise
        elif not due:
            raise Unavailable("Nobody says what leave is good just now; try again.", retry_after=1.0)
        return Leave.read(shown.text, await self._ask(shown.group, now), now)

    async def _ask(self, group: str, now: float) -> Ed25519PublicKey:
        self._asked[group] = now
        key = self._keys[group] = await self._question.grant_key(group)
        return key
