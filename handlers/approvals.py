"""Shows what was asked for and what is allowed, and tells what policy would say of a call."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from backchannel.domain.inforce import effective
from backchannel.domain.supervision import allowance
from backchannel.domain.supervision.allowance import Allowance
from backchannel.domain.supervision.open import Ask, judged
from backchannel.domain.supervision.policy import Chain
from backchannel.domain.supervision.request import FAMILY, Request
from backchannel.domain.supervision.risk import Risk, assess
from backchannel.domain.supervision.showing import LARGEST_PAGE, cut, page
from backchannel.domain.trust.standing import FAMILY as TRUST
from backchannel.domain.trust.standing import Trust, trusted
from backchannel.errors import Forbidden
from backchannel.protocol.claims import Claims
from backchannel.protocol.identifier import OPERATOR, Identifier
from backchannel.protocol.supervision import ToolRequest
from backchannel.service.context import Inquiry
from backchannel.service.declare import Service
from backchannel.service.params import Params, understood

service = Service("approvals", about=__doc__)


class ApprovalsParams(Params):
    state: str | None = None
    agent: Identifier | None = None
    request_id: str | None = None
    limit: int = Field(default=100, ge=1, le=1000)
    page: str | None = Field(default=None, max_length=256)


@service.answers("approvals")
async def approvals(inquiry: Inquiry) -> Mapping[str, Any]:
    """Requests, the newest first: all for an operator, else those one asked for or may decide.

    Large ones are cut in a list (`shortened`), so that none hides the others; by its request_id it is whole.
    """
    asked = understood(ApprovalsParams, inquiry.params)
    found = [Request.read(content) for content in await inquiry.house.marks(inquiry.group, FAMILY)]
    fits = [
        one
        for one in found
        if _sees(inquiry, one)
        and asked.state in (None, one.state)
        and asked.agent in (None, one.agent)
        and asked.request_id in (None, one.request_id)
    ]
    if asked.request_id is not None:
        shown, behind = [cut(one.shown(), LARGEST_PAGE) for one in fits], None
    else:
        shown, behind = page(fits, asked.limit, asked.page)
    rules = [
        Allowance.read(content) for content in await inquiry.house.marks(inquiry.group, allowance.FAMILY)
    ]
    mine = [one for one in rules if inquiry.role == OPERATOR or inquiry.caller in (one.agent, one.by)]
    return {
        "approvals": shown,
        "next": behind,
        "total": len(fits),
        "allowances": [cut(one.shown(), 4096) for one in mine],
    }


class PolicyParams(Params):
    tool: Identifier
    agent: Identifier | None = None
    params: dict[str, Any] = {}
    chain: Identifier | None = None
    claims: dict[str, Any]


@service.answers("policy")
async def policy(inquiry: Inquiry) -> Mapping[str, Any]:
    """What policy would say of a call by the bearer of these claims, and why. Nothing is done."""
    if inquiry.role != OPERATOR:
        raise Forbidden("Only an operator may try the policy on others' claims.", field="query")
    asked = understood(PolicyParams, inquiry.params)
    claims = Claims.model_validate(asked.claims)
    claims = effective(claims, await inquiry.house.rights.get(inquiry.group, claims.sub))
    message = ToolRequest.model_validate(
        {
            "message_id": "00000000-0000-0000-0000-000000000000",
            "timestamp": "2000-01-01T00:00:00Z",
            "tool": asked.tool,
            "params": asked.params,
        }
    )
    chain = Chain(asked.chain)
    settings = inquiry.house.settings().approvals
    risk = assess(asked.tool, asked.params, settings.rules)
    claims = await _trusted_in_a_query(claims, risk, inquiry)
    ask = Ask(message, inquiry.group, claims, datetime.now(UTC), settings, str, risk, chain)
    judgement, _ = judged(ask)
    return {
        "verdict": judgement.verb,
        "reasons": list(judgement.reasons),
        "risk": risk.shown(),
        "level": claims.supervision_level,
        "policy": settings.rules.version,
        "ladder": ask.ladder,
    }


async def _trusted_in_a_query(claims: Claims, risk: Risk, inquiry: Inquiry) -> Claims:
    for content in await inquiry.house.marks(inquiry.group, f"{TRUST}.{claims.sub}"):
        trust = Trust.read(content, content["agent"], content["tool_class"])
        if trust.tool_class == risk.tool_class:
            return trusted(claims, trust, inquiry.house.settings().trust)
    return trusted(claims, Trust(claims.sub, risk.tool_class), inquiry.house.settings().trust)


def _sees(inquiry: Inquiry, one: Request) -> bool:
    if inquiry.role == OPERATOR:
        return True
    return inquiry.caller == one.agent or (inquiry.role == "human" and inquiry.caller in one.ladder)
