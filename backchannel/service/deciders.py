"""Looks up who may decide about an agent's requests now: not all who were to be asked still may."""

from __future__ import annotations

from backchannel.domain.directory import humans_of
from backchannel.domain.supervision.meanwhile import why_not_to_decide
from backchannel.domain.supervision.request import Request
from backchannel.protocol.identifier import OPERATOR
from backchannel.protocol.json_object import read_object
from backchannel.service.context import Context


async def why_not_theirs(request: Request, by: str, kind: str, ctx: Context) -> str | None:
    """Why a human who was to be asked is not any more; None if they are, or never were."""
    if kind == OPERATOR or by not in request.ladder or by in ctx.house.settings().approvals.fallback:
        return None
    known = await ctx.house.agents.get(f"{request.group}.{request.agent}")
    if known is None or by in humans_of(read_object(known.payload)):
        return None
    return f"{request.agent} has other humans now"


async def no_deciders(request: Request, ctx: Context) -> list[str]:
    """Those of its ladder who may not decide it any more."""
    found = []
    for name in request.ladder:
        rights = await ctx.house.rights.get(request.group, name)
        if why_not_to_decide(name, rights, ctx.now.timestamp()) or await why_not_theirs(
            request, name, "human", ctx
        ):
            found.append(name)
    return found
