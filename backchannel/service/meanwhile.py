"""Looks up what was decided about an agent after it asked for a tool."""

from __future__ import annotations

import asyncio
from datetime import datetime

from backchannel.domain.supervision.meanwhile import why_not_any_more
from backchannel.domain.supervision.request import Request
from backchannel.domain.trust.standing import Trust, place_of
from backchannel.service.context import Context


async def forbidden_since(request: Request, ctx: Context) -> str | None:
    """Why what was asked for must not be done any more; None if nothing forbids it. Raises Unavailable."""
    tool_class = str(request.risk["tool_class"])
    inforce, found = await asyncio.gather(
        ctx.house.rights.get(request.group, request.agent), ctx.marked(place_of(request.agent, tool_class))
    )
    trust = Trust.read(found, request.agent, tool_class)
    asked_at = datetime.fromisoformat(request.asked_at).timestamp()
    changed = request.policy != ctx.house.settings().approvals.rules.version
    return why_not_any_more(request.agent, request.tool, asked_at, inforce, trust, rules_changed=changed)
