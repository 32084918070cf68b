"""Tokens: how claims are signed, and when a token is believed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jwt
from pydantic import ValidationError

from backchannel.errors import BadMessage, Expired, Forbidden
from backchannel.protocol.claims import AUDIENCE, Claims
from backchannel.protocol.identifier import is_reserved

ALGORITHM = "HS256"
MAX_TOKEN_BYTES = 16_384
MAX_CLOCK_SKEW = 60.0
"""Seconds by which a token may be issued in our future. Expiry has no such grace."""

_TWINS = (("sub", "entity_id"), ("iat", "issued_at"), ("exp", "expires_at"))
_REQUIRED = ["sub", "aud", "iat", "exp", "jti"]


class BadToken(Forbidden):
    """The token is not believed. The message is for the log: the bearer is told no more than that."""


def draft(
    entity: str, *, now: int, lifetime: int, jti: str, fields: Mapping[str, Any] | None = None
) -> Claims:
    """Claims for a new token: the defaults, with `fields` over them.

    Args:
        entity: who bears it; `fields` may repeat but not change it.
        now: seconds since 1970, UTC. `lifetime` is in seconds.
        jti: the token's own id, unique.

    Raises:
        Forbidden: the name is the platform's own.
        BadMessage: a name or value that claims cannot have; `field` says which.
    """
    if is_reserved(entity):
        raise Forbidden(f"The name {entity!r} is the platform's own; choose another.", field="sub")
    registered = {"sub": entity, "aud": AUDIENCE, "iat": now, "exp": now + lifetime, "jti": jti}
    return _claims(registered | _both_ways(dict(fields or {})), strict_subject=entity)


def sign(claims: Claims, key: bytes) -> str:
    """The token in compact form (RFC 7519, HS256). Absent claims are left out, not null."""
    return jwt.encode(claims.model_dump(mode="json", exclude_none=True), key, algorithm=ALGORITHM)


def verify(token: str, key: bytes, now: float) -> Claims:
    """What a token says, if it is ours and in force at `now` (seconds since 1970, UTC).

    Raises:
        Expired: it was good once.
        BadToken: anything else.
    """
    claims = _read(token, key)
    if is_reserved(claims.sub):
        raise BadToken(f"The token is for {claims.sub!r}, a name that is the platform's own.")
    if claims.exp <= now:
        raise Expired(
            f"The token of {claims.sub!r} expired {int(now - claims.exp)} s ago; ask for a new one."
        )
    if claims.iat > now + MAX_CLOCK_SKEW:
        raise BadToken(f"The token of {claims.sub!r} was issued in the future; compare the clocks.")
    return claims


def _read(token: str, key: bytes) -> Claims:
    if len(token) > MAX_TOKEN_BYTES:
        raise BadToken(f"The token is longer than {MAX_TOKEN_BYTES} bytes.")
    try:
        payload = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            # The clock is ours (`now`), so the library must not look at its own.
            options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
    except (jwt.InvalidTokenError, ValueError) as problem:
        raise BadToken(f"The token is not valid: {problem}.") from problem
    if "nbf" in payload:
        raise BadToken("The token has a start of validity (nbf), which is not supported.")
    try:
        return _claims(payload)
    except BadMessage as problem:
        raise BadToken(problem.message) from problem


def _claims(payload: Mapping[str, Any], strict_subject: str | None = None) -> Claims:
    complete = _both_ways(payload)
    for registered, seed in _TWINS:
        if complete.get(registered) != complete.get(seed):
            raise BadMessage(f"The claims {registered!r} and {seed!r} disagree.", field=seed)
    if strict_subject is not None and complete.get("sub") != strict_subject:
        raise BadMessage(f"The claim 'sub' names somebody else than {strict_subject!r}.", field="sub")
    try:
        return Claims.model_validate(complete)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise BadMessage(f"The claim {field!r} is not valid: {first['msg']}.", field=field) from problem


def _both_ways(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Each claim with two names under both, where only one was given."""
    complete = dict(payload)
    for one, other in _TWINS:
        if one in complete:
            complete.setdefault(other, complete[one])
        elif other in complete:
            complete[one] = complete[other]
    return complete
