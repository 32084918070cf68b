"""Decides what agents may do with tools, asks humans where policy wants that, and hands out grants."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from backchannel.domain.decision import Decision, Mark
from backchannel.domain.execution import Execution
from backchannel.domain.execution import place_of as place_of_grant
from backchannel.domain.grant import Grant, sign
from backchannel.domain.inforce import effective
from backchannel.domain.supervision import allowance, habit
from backchannel.domain.supervision.allowance import Allowance
from backchannel.domain.supervision.answer import (
    Answer,
    answered,
    answered_together,
    asked_again,
    told_by_agent,
    unanswered,
)
from backchannel.domain.supervision.callback import Leave
from backchannel.domain.supervision.flock import Flock
from backchannel.domain.supervision.flock import place_of as place_of_flock
from backchannel.domain.supervision.habit import Habit
from backchannel.domain.supervision.open import AGAIN, SERVICE, WAIT, Ask, asks, judged, opened
from backchannel.domain.supervision.policy import Chain
from backchannel.domain.supervision.request import FAMILY, Request, place_of, waiting_of
from backchannel.domain.supervision.risk import Risk, assess
from backchannel.domain.supervision.run import Run, beginnings_of
from backchannel.domain.supervision.run import place_of as place_of_run
from backchannel.domain.trust.decide import Asked, corrected
from backchannel.domain.trust.standing import FAMILY as TRUST
from backchannel.domain.trust.standing import Trust, trusted
from backchannel.domain.trust.standing import place_of as place_of_trust
from backchannel.errors import Conflict, Forbidden, NotFound
from backchannel.protocol.catalog import read_message
from backchannel.protocol.claims import Claims
from backchannel.protocol.identifier import OPERATOR, Identifier
from backchannel.protocol.supervision import AllowanceRevoke, ApprovalResponse, ToolRequest, ToolResult
from backchannel.service.context import Context, Inquiry
from backchannel.service.declare import Service
from backchannel.service.due import Due
from backchannel.service.meanwhile import forbidden_since
from backchannel.service.params import Params, understood
from backchannel.service.wanted import Wanted

service = Service(SERVICE, about=__doc__)


@service.on(ToolRequest, beside=True)
async def request(command: ToolRequest, ctx: Context) -> Decision:
    group, agent = ctx.asked.group, ctx.asked.agent
    known, inforce, trust, habits, (chain, counted) = await asyncio.gather(
        _known(str(command.message_id), ctx),
        ctx.house.rights.get(group, agent),
        _trust(agent, _risk(command, ctx).tool_class, ctx),
        ctx.marked(habit.place_of(agent)),
        _chain(command, ctx),
    )
    if known is not None:
        return _again(known, command, ctx)
    ask = Ask(
        command,
        group,
        trusted(effective(ctx.claims(), inforce), trust, ctx.house.settings().trust),
        ctx.now,
        ctx.house.settings().approvals,
        _signer(ctx),
        chain,
        Habit.read(habits, agent),
        run=counted[0].what if counted else None,
    )
    if asks(ask):
        ask = await _with_what_waits(ask, ctx)
    decided = opened(ask)
    if decided.result.get("decision") == "denied":
        return decided
    return replace(decided, marks=(*decided.marks, *counted))


@service.on(ApprovalResponse)
async def answer(command: ApprovalResponse, ctx: Context) -> Decision:
    return await _answered(command, ctx.asked.agent, ctx.kind, ctx)


@service.decides("answer")
async def answer_at_once(wanted: Wanted, ctx: Context) -> Decision:
    """An answer over HTTP: of a human whose token the door has checked, or with leave for one request."""
    fields = {name: value for name, value in wanted.fields.items() if name != "leave"}
    said = read_message({**fields, "type": "approval_response", "timestamp": ctx.now.isoformat()})
    assert isinstance(said, ApprovalResponse)
    by, kind = wanted.caller, ctx.kind
    if (leave := wanted.fields.get("leave")) is not None:
        by, kind = await _on_leave(str(leave), said.request_id, ctx), "human"
    return await _answered(said, by, kind, ctx)


@service.on(AllowanceRevoke)
async def revoke(command: AllowanceRevoke, ctx: Context) -> Decision:
    """Whoever allowed it, another human of that agent, or the operator takes it back."""
    known = None
    if _is_id(command.allowance_id):
        found = await ctx.marked(allowance.place_of(command.allowance_id))
        known = Allowance.read(found) if found is not None else None
    humans = await ctx.house.humans(ctx.asked.group, known.agent) if known is not None else frozenset()
    return allowance.revoked(known, command, ctx.asked.agent, ctx.kind, humans, ctx.asked.group)


@service.on(ToolResult)
async def result(command: ToolResult, ctx: Context) -> Decision:
    """An agent says how a tool of its own went, or a human how a call really went."""
    known = await _known(command.request_id, ctx)
    if ctx.kind in ("human", OPERATOR) and (known is None or known.agent != ctx.asked.agent):
        return await _corrected(known, command, ctx)
    run = None
    if known is not None and known.grant_id is not None:
        found = await ctx.marked(place_of_grant(known.grant_id))
        run = Execution.read(found) if found is not None else None
    return told_by_agent(known, run, ctx.asked.agent, command, ctx.now)


@service.due(WAIT)
async def nobody_answered(due: Due, ctx: Context) -> Decision:
    return unanswered(await _known(due.key, ctx), ctx.house.settings().approvals, due.message_id, ctx.now)


@service.due(AGAIN)
async def ask_again(due: Due, ctx: Context) -> Decision:
    return asked_again(await _known(due.key, ctx), ctx.house.settings().approvals, due.message_id, ctx.now)


class ApprovalsParams(Params):
    state: str | None = None
    agent: Identifier | None = None
    request_id: str | None = None
    limit: int = Field(default=100, ge=1, le=1000)


@service.answers("approvals")
async def approvals(inquiry: Inquiry) -> Mapping[str, Any]:
    """Requests, the newest first: all for an operator, else those one asked for or may decide."""
    asked = understood(ApprovalsParams, inquiry.params)
    found = [Request.read(content) for content in await inquiry.house.marks(inquiry.group, FAMILY)]
    seen = [one for one in found if _sees(inquiry, one)]
    fits = [
        one
        for one in seen
        if asked.state in (None, one.state)
        and asked.agent in (None, one.agent)
        and asked.request_id in (None, one.request_id)
    ]
    fits.sort(key=lambda one: one.asked_at, reverse=True)
    rules = [
        Allowance.read(content) for content in await inquiry.house.marks(inquiry.group, allowance.FAMILY)
    ]
    return {
        "approvals": [one.shown() for one in fits[: asked.limit]],
        "total": len(fits),
        "allowances": [
            {"allowance_id": one.allowance_id, "agent": one.agent, "tool": one.tool, "by": one.by}
            | {"until": one.until_text, "path_prefix": one.path_prefix, "equal": one.equal}
            for one in rules
            if inquiry.role == OPERATOR or inquiry.caller in (one.agent, one.by)
        ],
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
    claims = await _trusted_in_a_query(claims, assess(asked.tool, asked.params, settings.rules), inquiry)
    ask = Ask(message, inquiry.group, claims, datetime.now(UTC), settings, str, chain)
    risk, judgement, _ = judged(ask)
    return {
        "verdict": judgement.verb,
        "reasons": list(judgement.reasons),
        "risk": risk.shown(),
        "level": claims.supervision_level,
        "policy": settings.rules.version,
        "ladder": ask.ladder,
    }


async def _answered(said: ApprovalResponse, by: str, kind: str, ctx: Context) -> Decision:
    """What follows, for the whole flock if the answer says so."""
    known = await _known(said.request_id, ctx)
    forbidden = await forbidden_since(known, ctx) if known is not None else None
    given = Answer(said, by, kind, ctx.now, ctx.house.settings().approvals, _signer(ctx), forbidden)
    if known is None or (said.model_extra or {}).get("together") is not True:
        return answered(known, given)
    waiting = await ctx.house.marks(ctx.asked.group, waiting_of(known.agent))
    ids = [one["request_id"] for one in waiting if one["request_id"] != known.request_id]
    others = [found for found in [await _known(one, ctx) for one in ids] if found is not None]
    if said.approved:
        others = [one for one in others if await forbidden_since(one, ctx) is None]
    return answered_together(known, others, given)


def _flock(command: ToolRequest, ctx: Context) -> str:
    return place_of_flock(ctx.asked.agent, command.tool, _risk(command, ctx))


def _risk(command: ToolRequest, ctx: Context) -> Risk:
    return assess(command.tool, command.params, ctx.house.settings().approvals.rules)


async def _on_leave(text: str, request_id: str, ctx: Context) -> str:
    """Whose answer it is. Raises Forbidden or Expired."""
    leave = Leave.read(text, ctx.house.grant_key.public_key(), ctx.now.timestamp())
    if (leave.group, leave.request_id) != (ctx.asked.group, request_id):
        raise Forbidden("The leave is for another request.", field="request_id")
    rights = await ctx.house.rights.get(leave.group, leave.human)
    if rights is not None and rights.revoked_before is not None and leave.iat < rights.revoked_before:
        raise Forbidden("The human in whose name this is answered was sent away since.")
    return leave.human


async def _known(request_id: str, ctx: Context) -> Request | None:
    if not _is_id(request_id):
        raise NotFound(f"There is no request {request_id[:64]!r}.", field="request_id")
    found = await ctx.marked(place_of(request_id))
    return Request.read(found) if found is not None else None


async def _with_what_waits(ask: Ask, ctx: Context) -> Ask:
    """With what matters only where a human is to be asked."""
    waiting, allowances, flock = await asyncio.gather(
        ctx.house.marks(ask.group, waiting_of(ask.agent)),
        _allowances(ask.message.tool, ctx),
        ctx.marked(_flock(ask.message, ctx)),
    )
    return replace(ask, pending=len(waiting), allowances=allowances, flock=Flock.read(flock))


async def _trust(agent: str, tool_class: str, ctx: Context) -> Trust:
    return Trust.read(await ctx.marked(place_of_trust(agent, tool_class)), agent, tool_class)


async def _trusted_in_a_query(claims: Claims, risk: Risk, inquiry: Inquiry) -> Claims:
    for content in await inquiry.house.marks(inquiry.group, f"{TRUST}.{claims.sub}"):
        trust = Trust.read(content, content["agent"], content["tool_class"])
        if trust.tool_class == risk.tool_class:
            return trusted(claims, trust, inquiry.house.settings().trust)
    return trusted(claims, Trust(claims.sub, risk.tool_class), inquiry.house.settings().trust)


async def _corrected(known: Request | None, command: ToolResult, ctx: Context) -> Decision:
    by = ctx.asked.agent
    if known is None or (ctx.kind != OPERATOR and by not in known.ladder):
        raise NotFound(f"There is no request {command.request_id} for {by} to judge.", field="request_id")
    if known.state != "approved":
        raise Conflict(f"The request is {known.state}; nothing was done on it.", field="request_id")
    asked = Asked.read(asdict(known))
    trust = await _trust(asked.agent, asked.tool_class, ctx)
    return corrected(asked, trust, command, by, ctx.house.settings().trust, ctx.now)


def _is_id(text: str) -> bool:
    return 0 < len(text) <= 64 and all(letter.isalnum() or letter in "-_" for letter in text)


def _again(known: Request, command: ToolRequest, ctx: Context) -> Decision:
    """The same request once more; its follow-ups are in the log. Raises Conflict for another's id."""
    if known.agent == ctx.asked.agent and (known.tool, known.params) == (command.tool, command.params):
        return Decision(repeated=True)
    raise Conflict("Another request has this message_id; choose a new one.", field="message_id")


async def _allowances(tool: str, ctx: Context) -> Sequence[Allowance]:
    """Those for this agent and tool, as the leader of the log has them: one taken back is gone at once."""
    listed = [Allowance.read(one) for one in await ctx.house.marks(ctx.asked.group, allowance.FAMILY)]
    fits = [one for one in listed if (one.agent, one.tool) == (ctx.asked.agent, tool)]
    found = [await ctx.marked(allowance.place_of(one.allowance_id)) for one in fits]
    return [Allowance.read(one) for one in found if one is not None]


async def _chain(command: ToolRequest, ctx: Context) -> tuple[Chain, tuple[Mark, ...]]:
    """The run of calls that a request belongs to: by its cause, its trace, its id, or the chain it names."""
    agent, cause = ctx.asked.agent, await _cause(command, ctx)
    place = place_of_run(agent, command, cause)
    if place is None:
        return Chain(), ()
    named = cause is not None or (command.chain_id or command.trace_id) is not None
    run = Run.read(place, named, await ctx.marked(place), ctx.now).led_by(cause)
    chain, counted = Chain(command.chain, len(run.times)), run.with_one_more(ctx.now)
    door = beginnings_of(agent, command)
    if run.times or door is None:
        return chain, (counted,)
    begun = Run.read(door, False, await ctx.marked(door), ctx.now)
    return replace(chain, begun=len(begun.times)), (counted, begun.with_one_more(ctx.now))


async def _cause(command: ToolRequest, ctx: Context) -> Request | None:
    """The call of the same agent that this one says it follows from."""
    if command.causation_id is None or not _is_id(command.causation_id):
        return None
    known = await _known(command.causation_id, ctx)
    return known if known is not None and known.agent == ctx.asked.agent else None


def _signer(ctx: Context) -> Any:
    def signed(grant: Grant) -> str:
        return sign(grant, ctx.house.grant_key)

    return signed


def _sees(inquiry: Inquiry, one: Request) -> bool:
    if inquiry.role == OPERATOR:
        return True
    return inquiry.caller == one.agent or (inquiry.role == "human" and inquiry.caller in one.ladder)
