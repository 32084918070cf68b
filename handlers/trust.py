"""Lets humans settle how far an agent is trusted with a class of tools, and shows on what ground."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from backchannel.domain.decision import Decision
from backchannel.domain.paging import page_of
from backchannel.domain.trust.decide import SERVICE, may_settle, settled, shown
from backchannel.domain.trust.standing import FAMILY, Trust, place_of
from backchannel.errors import Forbidden, UnknownAgent
from backchannel.protocol.identifier import OPERATOR, Identifier
from backchannel.protocol.supervision import TrustUpdate
from backchannel.service.context import Context, Inquiry
from backchannel.service.declare import Service
from backchannel.service.params import Params, understood

service = Service(SERVICE, about=__doc__)


@service.on(TrustUpdate)
async def update(command: TrustUpdate, ctx: Context) -> Decision:
    """An operator, or the human that the agent answers to, says how much freedom it has."""
    by, group = ctx.asked.agent, ctx.asked.group
    charges = await ctx.house.charges(group, by) if ctx.kind == "human" else frozenset()
    if not may_settle(by, ctx.kind, command.agent_id, charges):
        raise Forbidden(
            f"Only the human supervisor of {command.agent_id} settles its levels.", field="agent_id"
        )
    if await ctx.strangers([command.agent_id]):
        raise UnknownAgent(f"Nobody here is called {command.agent_id}.", field="agent_id")
    found = await ctx.marked(place_of(command.agent_id, command.tool_class))
    trust = Trust.read(found, command.agent_id, command.tool_class)
    return settled(trust, command, by, group, ctx.now)


class TrustParams(Params):
    agent: Identifier | None = None
    tool_class: str | None = None
    page: str | None = None
    limit: int = Field(default=1000, ge=1, le=1000)


@service.answers("trust")
async def trust(inquiry: Inquiry) -> Mapping[str, Any]:
    """How agents stand with classes of tools: all of them for an operator, else oneself and one's charges."""
    asked = understood(TrustParams, inquiry.params)
    settings, now = inquiry.house.settings().trust, datetime.now(UTC).timestamp()
    charges: frozenset[str] = frozenset()
    if inquiry.role == "human":
        charges = await inquiry.house.charges(inquiry.group, inquiry.caller)
    found = [
        Trust.read(content, content["agent"], content["tool_class"])
        for content in await inquiry.house.marks(inquiry.group, FAMILY)
    ]
    fits = [
        one
        for one in found
        if (inquiry.role == OPERATOR or one.agent in {*charges, inquiry.caller})
        and asked.agent in (None, one.agent)
        and asked.tool_class in (None, one.tool_class)
    ]
    fits.sort(key=_name)
    rest = (one for one in fits if _name(one) > (asked.page or ""))
    part = page_of(rest, _name, lambda one: shown(one, settings, now), asked.limit)
    return {"trust": part.rows, "total": len(fits), "next": part.next}


def _name(one: Trust) -> str:
    return f"{one.agent}.{one.tool_class}"
