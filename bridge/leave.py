"""Leave to answer one request, as it comes in a header; whether it is good is supervision's to say."""

from __future__ import annotations

from typing import NamedTuple

import jwt

from backchannel.domain.supervision.callback import AUDIENCE
from backchannel.protocol.identifier import is_identifier


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
    except jwt.InvalidTokenError:
        return None
    group = said.get("group")
    if said.get("aud") != AUDIENCE or not isinstance(group, str) or not is_identifier(group):
        return None
    return Shown(text.strip(), group)
