"""Has granted actions executed: calls workers, lets a grant be used once, takes what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from backchannel.domain.decision import Decision
from backchannel.domain.execution import (
    CALL,
    OVERDUE,
    SERVICE,
    Execution,
    called_off,
    calling,
    nobody_came,
    offer,
    overdue,
    place_of,
    report,
    take,
)
from backchannel.domain.grant import Grant, read, read_signed, require
from backchannel.domain.supervision.request import Request
from backchannel.domain.supervision.request import place_of as place_of_request
from backchannel.domain.trust.decide import Asked, learning
from backchannel.domain.trust.standing import Trust
from backchannel.domain.trust.standing import place_of as place_of_trust
from backchannel.errors import BadMessage, Forbidden
from backchannel.protocol.identifier import require_identifier
from backchannel.protocol.sealed import to_text
from backchannel.service.context import Context, Inquiry
from backchannel.service.declare import Service
from backchannel.service.due import Due
from backchannel.service.meanwhile import forbidden_since
from backchannel.service.params import Params, understood
from backchannel.service.wanted import Wanted

service = Service(SERVICE, about=__doc__)
MOST_SECONDS = 3600.0


class Redemption(Params):
    message_id: str
    grant: str
    params: dict[str, Any]
    seconds: float = 60.0


class Report(Params):
    message_id: str
    grant_id: str
    success: bool
    result: Any = None
    error: str | None = None


@service.decides("redeem")
async def redeem(wanted: Wanted, ctx: Context) -> Decision:
    """A worker begins: only on a grant of ours, in force, unused, for exactly these parameters.

    If its agent must not do it any more, the refusal is for the worker, and the result for the agent.
    """
    _require_worker(ctx)
    said = understood(Redemption, wanted.fields)
    worker = require_identifier(wanted.caller, "worker")
    if not 0 < said.seconds <= MOST_SECONDS:
        raise BadMessage(f"A worker may take up to {MOST_SECONDS:g} seconds.", field="seconds")
    grant = read(said.grant, ctx.house.grant_key.public_key(), ctx.now.timestamp())
    require(grant, ctx.asked.group, grant.tool, said.params)
    if grant.tool not in ctx.held.get("offers", (grant.tool,)):
        raise Forbidden(f"{worker} does not offer {grant.tool}.", field="grant")
    known, asked = await asyncio.gather(_known(grant.grant_id, ctx), _asked(grant, ctx))
    if asked is not None and asked.grant_id != grant.grant_id:
        raise Forbidden("The grant is not the one that was given on its request.", field="grant")
    if known is None and asked is not None and (why := await forbidden_since(asked, ctx)) is not None:
        return called_off(grant, why, wanted.message_id, ctx.now)
    return take(grant, known, worker, wanted.message_id, said.seconds, ctx.now)


@service.decides("report")
async def reported(wanted: Wanted, ctx: Context) -> Decision:
    """The worker tells how it went; the agent hears of it, and the trail."""
    _require_worker(ctx)
    said = understood(Report, wanted.fields)
    worker = require_identifier(wanted.caller, "worker")
    outcome = {"success": said.success, "result": said.result, "error": said.error}
    known = await _known(said.grant_id, ctx)
    decision = report(known, worker, outcome, wanted.message_id, ctx.now)
    return decision if known is None else await _with_trust(decision, known, said.success, wanted, ctx)


@service.due(OVERDUE)
async def not_reported(due: Due, ctx: Context) -> Decision:
    """The worker had its time."""
    return overdue(await _known(due.key, ctx), due.message_id, ctx.now)


@service.due(CALL)
async def call(due: Due, ctx: Context) -> Decision:
    """Offer it to the workers, again and again, until one has begun, or the grant is not good any more."""
    text, params, tries = str(due.about["grant"]), due.about["params"], int(due.about["tries"])
    grant = read_signed(text, ctx.house.grant_key.public_key())
    known, why = await asyncio.gather(_known(due.key, ctx), _forbidden(grant, ctx))
    if known is not None:
        return Decision()
    if grant.exp <= ctx.now.timestamp():
        return nobody_came(grant, due.message_id, ctx.now)
    if why is not None:
        return called_off(grant, why, due.message_id, ctx.now)
    return Decision(
        calls=(offer(grant, text, params),), timers=(calling(due.key, text, params, ctx.now, tries),)
    )


@service.answers("grant_key")
async def grant_key(inquiry: Inquiry) -> Mapping[str, Any]:
    """The Ed25519 key with which workers check grants: base64url of its 32 bytes."""
    understood(Params, inquiry.params)
    return {"public_key": to_text(inquiry.house.grant_key.public_key().public_bytes_raw())}


def _require_worker(ctx: Context) -> None:
    """Raises Forbidden: what an agent says of its own calls must not pass for what a worker says."""
    if ctx.kind != "service":
        raise Forbidden("Only workers act on grants here; an agent that ran its own tool sends tool_result.")


async def _known(grant_id: str, ctx: Context) -> Execution | None:
    found = await ctx.marked(place_of(require_identifier(grant_id, "grant_id")))
    return Execution.read(found) if found is not None else None


async def _asked(grant: Grant, ctx: Context) -> Request | None:
    found = await ctx.marked(place_of_request(grant.request_id))
    return Request.read(found) if found is not None else None


async def _forbidden(grant: Grant, ctx: Context) -> str | None:
    """Why it must not be done any more, although it was granted."""
    asked = await _asked(grant, ctx)
    return await forbidden_since(asked, ctx) if asked is not None else None


async def _with_trust(
    decision: Decision, known: Execution, success: bool, wanted: Wanted, ctx: Context
) -> Decision:
    """What a worker tells counts for the agent's trust, and is remembered in the same commit."""
    found = await ctx.marked(place_of_request(known.request_id))
    if found is None:
        return decision
    asked = Asked.read(found)
    place = place_of_trust(asked.agent, asked.tool_class)
    trust = Trust.read(await ctx.marked(place), asked.agent, asked.tool_class)
    outcome, settings = asked.outcome(success, ctx.now, "worker"), ctx.house.settings().trust
    return learning(decision, asked, trust, outcome, settings, wanted.message_id, ctx.now)
