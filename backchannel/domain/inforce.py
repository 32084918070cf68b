"""Rights in force: what the platform lets an entity do now; it can only narrow what the token says."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from backchannel.protocol.claims import MAX_CLOCK_SKEW, Claims, SupervisionLevel, Tools
from backchannel.protocol.identifier import Identifier

Names = Annotated[tuple[Identifier, ...], Field(max_length=1024)]
Reason = Annotated[str, Field(max_length=1024)]

FREEDOM: dict[SupervisionLevel, int] = {"locked": 0, "high": 1, "medium": 2, "low": 3, "autonomous": 4}
"""Levels by how much they leave to the agent; a higher number is more freedom."""


class ToolNarrowing(BaseModel):
    """``removed``: as if the token did not name them. ``blocked``: refused, whatever else says they may."""

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True)

    removed: Names = ()
    blocked: Names = ()


class InForce(BaseModel):
    """What stands in BC_rights under ``<group>.<entity>``. What is None or empty leaves the token as it is.

    Args:
        version: counts the changes, from 1.
        level: the most freedom the entity has now.
        revoked_before: tokens issued before this second (since 1970) are not believed any more.
        barred_until: no token is believed before this second (since 1970).
        by: who decided it; ``at`` is when (RFC 3339), ``reason`` is why.
    """

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True)

    version: Annotated[int, Field(ge=1)] = 1
    level: SupervisionLevel | None = None
    tools: ToolNarrowing = ToolNarrowing()
    revoked_before: Annotated[int, Field(ge=0)] | None = None
    barred_until: Annotated[float, Field(ge=0)] | None = None
    by: str
    at: str
    reason: Reason = ""


def effective(claims: Claims, inforce: InForce | None) -> Claims:
    """What the bearer of these claims may do now: never more than the token says, and the same
    object if all of it."""
    if inforce is None:
        return claims
    level = narrower(claims.supervision_level, inforce.level)
    tools = _narrowed(claims.tools, inforce.tools)
    if level == claims.supervision_level and tools == claims.tools:
        return claims
    return claims.model_copy(update={"supervision_level": level, "tools": tools})


def narrower(one: SupervisionLevel, other: SupervisionLevel | None) -> SupervisionLevel:
    """The level of the two that leaves less to the agent."""
    return one if other is None else min(one, other, key=FREEDOM.__getitem__)


def why_refused(claims: Claims, inforce: InForce | None, now: float) -> str | None:
    """Why a token that is good in itself is not believed now; a sentence for the log, None if it is.

    Args:
        now: seconds since 1970, UTC.
    """
    return why_revoked(claims, inforce, now) or why_sent_away(claims, inforce, now)


def why_revoked(claims: Claims, inforce: InForce | None, now: float) -> str | None:
    """Why this token is of no use any more, while a fresh one of the same entity would be.

    A token whose beginning lies ahead of our clock may have been made up to `MAX_CLOCK_SKEW` before that; so
    one that may be from before the revocation counts as that.
    """
    if inforce is None or inforce.revoked_before is None:
        return None
    made = claims.iat if claims.iat <= now else claims.iat - MAX_CLOCK_SKEW
    if made >= inforce.revoked_before:
        return None
    return f"The tokens of {claims.sub!r} from before {inforce.revoked_before} were revoked by {inforce.by}."


def why_sent_away(claims: Claims, inforce: InForce | None, now: float) -> str | None:
    """Why the entity may not come in for now, whatever token it shows."""
    if inforce is not None and inforce.barred_until is not None and now < inforce.barred_until:
        return f"{claims.sub!r} was sent away by {inforce.by} until {inforce.barred_until:.0f}."
    return None


def _narrowed(tools: Tools, by: ToolNarrowing) -> Tools:
    gone = {*by.removed, *by.blocked}
    if not gone:
        return tools
    kept = {
        kind: [name for name in getattr(tools, kind) if name not in gone]
        for kind in ("allowed", "restricted", "experimental")
    }
    blocked = [*tools.blocked, *(name for name in by.blocked if name not in tools.blocked)]
    return tools.model_copy(update={**kept, "blocked": blocked})
