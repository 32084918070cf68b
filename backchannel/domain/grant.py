"""Grants: the word of supervision that one exact action may be done once, until a time, under conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, ValidationError

from backchannel.domain.canonical import digest
from backchannel.errors import Expired, Forbidden
from backchannel.protocol.identifier import Identifier

ALGORITHM = "EdDSA"
AUDIENCE = "backchannel-worker"
MOST_BYTES = 16_384


class BadGrant(Forbidden):
    """The grant is not believed, or is for something else. Nothing may be done on it."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What may be done: the action whose digest is `digest`, once, before `exp`.

    Args:
        request_id: the tool request it answers.
        conditions: to be enforced by whoever executes, who refuses those it does not know.
        policy: the digest of the policy under which it was granted.
        iat, exp: seconds since 1970, UTC.
    """

    grant_id: str
    request_id: str
    group: str
    agent: str
    tool: str
    digest: str
    conditions: tuple[Mapping[str, Any], ...]
    policy: str
    iat: int
    exp: int


class _Payload(BaseModel):
    """A grant as it is signed: a JWT (RFC 7519) with EdDSA over Ed25519 (RFC 8037)."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, strict=True)

    aud: str
    grant_id: str
    request_id: str
    group: Identifier
    agent: Identifier
    tool: Identifier
    digest: str
    conditions: list[dict[str, Any]]
    policy: str
    iat: int
    exp: int


def digest_of_action(group: str, agent: str, tool: str, params: Mapping[str, Any]) -> str:
    """What a grant is bound to: SHA-256, in hexadecimal, over the canonical JSON of exactly this action."""
    return digest({"group": group, "agent": agent, "tool": tool, "params": params})


def sign(grant: Grant, key: Ed25519PrivateKey) -> str:
    """The grant in compact form."""
    payload = {**asdict(grant), "conditions": [dict(one) for one in grant.conditions], "aud": AUDIENCE}
    return jwt.encode(payload, key, algorithm=ALGORITHM)


def read(text: str, key: Ed25519PublicKey, now: float) -> Grant:
    """What a grant says, if supervision signed it and it is in force at `now` (seconds since 1970, UTC).

    Raises:
        Expired: it was good once.
        BadGrant: anything else.
    """
    grant = read_signed(text, key)
    if grant.exp <= now:
        raise Expired(f"The grant lapsed {int(now - grant.exp)} s ago; ask for the tool again.")
    return grant


def read_signed(text: str, key: Ed25519PublicKey) -> Grant:
    """What a grant says, whether or not it has lapsed. Raises BadGrant."""
    if len(text) > MOST_BYTES:
        raise BadGrant(f"The grant is longer than {MOST_BYTES} bytes.")
    try:
        said = jwt.decode(
            text,
            key,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            # The clock is ours (`now`), so the library must not look at its own.
            options={"require": ["exp", "iat", "aud"], "verify_exp": False, "verify_iat": False},
        )
        payload = _Payload.model_validate(said)
    except (jwt.InvalidTokenError, ValueError, ValidationError) as problem:
        raise BadGrant("The grant is not one that supervision signed.") from problem
    return Grant(**{**payload.model_dump(exclude={"aud"}), "conditions": tuple(payload.conditions)})


def require(grant: Grant, group: str, tool: str, params: Mapping[str, Any]) -> None:
    """Let exactly the granted action pass.

    Raises:
        BadGrant: it is for another tool, or the parameters were changed.
    """
    if (grant.group, grant.tool) != (group, tool):
        raise BadGrant(
            f"The grant is for the tool {grant.tool!r} in the group {grant.group!r}.", field="grant"
        )
    if grant.digest != digest_of_action(group, grant.agent, tool, params):
        raise BadGrant("The parameters are not those that were granted.", field="params")
