"""Claims: what a token says about its bearer, and the most the bearer may do."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from backchannel.protocol.identifier import Identifier
from backchannel.protocol.lane import Lane

AUDIENCE = "backchannel"
MAX_CLOCK_SKEW = 60.0
"""Seconds by which a token's beginning may lie in our future. Expiry has no such grace."""

EntityType = Literal["agent", "human", "service"]
SupervisionLevel = Literal["autonomous", "low", "medium", "high", "locked"]
Strict = Annotated[bool, Field(strict=True)]
Names = Annotated[list[Identifier], Field(max_length=1024)]
MOST_VOUCHED = 32
"""Specialties that are vouched for by one token."""


class Tools(BaseModel):
    """Tool names by how they may be used; ``blocked`` wins over all others."""

    model_config = ConfigDict(defer_build=True, extra="allow", frozen=True)

    allowed: Names = []
    restricted: Names = []
    experimental: Names = []
    blocked: Names = []


class ToolChains(BaseModel):
    """Limits on chains of tool calls."""

    model_config = ConfigDict(defer_build=True, extra="allow", frozen=True)

    allowed_chains: Names = []
    supervised_chains: Names = []
    max_chain_length: Annotated[int, Field(ge=0, le=1000, strict=True)] = 5
    require_human_approval: Names = []


class Claims(BaseModel):
    """The content of a token (RFC 7519). Times are seconds since 1970, UTC.

    The registered names (``sub iat exp jti aud``) are what is enforced; ``entity_id``, ``issued_at``,
    ``expires_at`` and ``nonce`` repeat them for readers who know those and must not disagree.
    A token with a ``nonce`` opens one connection only. ``offers`` names the tools that a service runs for
    agents; its bearer is a worker, and comes in over NATS to do that and nothing else. ``specialties`` are
    those that the issuer answers for: they bring the bearer to sidebars and mentions that ask for one.
    """

    model_config = ConfigDict(defer_build=True, extra="allow", frozen=True)

    sub: Identifier
    aud: Literal["backchannel"] = "backchannel"
    iat: Annotated[int, Field(ge=0)]
    exp: Annotated[int, Field(ge=0)]
    jti: Annotated[str, Field(min_length=1, max_length=128)]
    entity_id: Identifier
    entity_type: EntityType = "agent"
    collaboration_group: Identifier = "main"
    human_partner: Identifier | None = None
    human_supervisor: Identifier | None = None
    sidebar_access: Names = []
    specialties: Annotated[list[Identifier], Field(max_length=MOST_VOUCHED)] = []
    can_spawn_sidebars: Strict = True
    can_access_memory: Strict = True
    lanes: list[Lane] = []
    tools: Tools = Tools()
    tool_chains: ToolChains = ToolChains()
    supervision_level: SupervisionLevel = "medium"
    offers: Names = []
    issued_at: int | None = None
    expires_at: int | None = None
    nonce: Annotated[str, Field(min_length=8, max_length=256)] | None = None
    _kid: str | None = PrivateAttr(default=None)

    @property
    def kid(self) -> str | None:
        """The key that the token was verified with; None before it was."""
        return self._kid

    @property
    def is_worker(self) -> bool:
        return self.entity_type == "service" and bool(self.offers)

    def verified_with(self, kid: str) -> Claims:
        """The same, with the key they were found to be signed with."""
        verified = self.model_copy()
        verified._kid = kid
        return verified
