"""Tokens: how claims are signed, and when a token is believed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jwt
from pydantic import ValidationError

from backchannel.delivery.keys import Key, Keys
from backchannel.errors import BadMessage, Expired, Forbidden
from backchannel.protocol.claims import AUDIENCE, MAX_CLOCK_SKEW, Claims
from backchannel.protocol.identifier import is_reserved

ALGORITHM = "HS256"
"""The one algorithm that counts; a header with another one is refused before any key is tried."""

MAX_TOKEN_BYTES = 16_384
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
    """The token in compact form (RFC 7519, HS256) with its key's name. Absent claims are left out."""
    content = claims.model_dump(mode="json", exclude_none=True)
    return jwt.encode(content, key, algorithm=ALGORITHM, headers={"kid": Key(key).kid})


def verify(token: str, keys: bytes | Keys, now: float, skew: float = MAX_CLOCK_SKEW) -> Claims:
    """What a token says, if it is ours and in force at `now` (seconds since 1970, UTC).

    No token outlives the key that signed it: `exp` of the answer is the earlier of both ends.

    Args:
        skew: seconds by which `iat` and `nbf` may lie in our future.

    Raises:
        Expired: it was good once.
        BadToken: anything else.
    """
    known = Keys(Key(keys)) if isinstance(keys, bytes) else keys
    claims, begins = _read(token, known, now)
    if is_reserved(claims.sub):
        raise BadToken(f"The token is for {claims.sub!r}, a name that is the platform's own.")
    if claims.exp <= now:
        raise Expired(
            f"The token of {claims.sub!r} expired {int(now - claims.exp)} s ago; ask for a new one."
        )
    if max(claims.iat, begins) > now + skew:
        raise BadToken(f"The token of {claims.sub!r} begins in the future; compare the clocks.")
    return claims


def _read(token: str, keys: Keys, now: float) -> tuple[Claims, float]:
    """What it says, and from when on (`nbf`)."""
    if len(token) > MAX_TOKEN_BYTES:
        raise BadToken(f"The token is longer than {MAX_TOKEN_BYTES} bytes.")
    kid = _key_id(token)
    for key in keys.candidates(kid, now):
        try:
            payload = _decoded(token, key)
        except jwt.InvalidSignatureError:
            continue
        except (jwt.InvalidTokenError, ValueError) as problem:
            raise BadToken(f"The token is not valid: {problem}.") from problem
        return _believed(payload, key)
    named = f"the key {kid!r}, which is not one of ours" if kid is not None else "none of our keys"
    raise BadToken(f"The token is signed with {named}, or was changed after it was signed.")


def _key_id(token: str) -> str | None:
    """Refuses every header but ours, before a key is tried."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, ValueError) as problem:
        raise BadToken(f"The token is not valid: {problem}.") from problem
    if (named := header.get("alg")) != ALGORITHM:
        raise BadToken(f"The token names the algorithm {str(named)[:32]!r}; only {ALGORITHM} counts.")
    if "crit" in header:
        raise BadToken("The token asks for an extension (crit) that is not known here.")
    kid = header.get("kid")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= 64 and kid.isprintable()):
        raise BadToken("The token's key id (kid) is no short text.")
    return kid


def _decoded(token: str, key: Key) -> dict[str, Any]:
    return jwt.decode(
        token,
        key.secret,
        algorithms=[ALGORITHM],
        audience=AUDIENCE,
        # The clock is ours (`now`), so the library must not look at its own.
        options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
    )


def _believed(payload: dict[str, Any], key: Key) -> tuple[Claims, float]:
    begins = payload.pop("nbf", 0)
    if isinstance(begins, bool) or not isinstance(begins, int | float):
        raise BadToken("The token's start of validity (nbf) is no number.")
    try:
        claims = _claims(payload).verified_with(key.kid)
    except BadMessage as problem:
        raise BadToken(problem.message) from problem
    if key.until is not None and key.until < claims.exp:
        claims = claims.model_copy(update={"exp": int(key.until)})
    return claims, begins


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
