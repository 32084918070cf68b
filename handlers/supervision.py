"""Decides what agents may do with tools, asks humans where policy wants that, and hands out grants."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from backchannel.domain.decision import Decision, Mark
from backchannel.domain.execution import Execution
from backchannel.domain.execution import place_of as place_of_grant
from backchannel.domain.grant import Grant, digest_of_action, sign
from backchannel.domain.inforce import effective
from backchannel.domain.supervision import allowance, denials, habit
from backchannel.domain.supervision.allowance import Allowance
from backchannel.domain.supervision.answer import Answer, asked_again, told_by_agent, unanswered
from backchannel.domain.supervision.callback import Leave, narrowed
from backchannel.domain.supervision.flock import Flock
from backchannel.domain.supervision.flock import place_of as place_of_flock
from backchannel.domain.supervision.habit import Habit
from backchannel.domain.supervision.meanwhile import why_not_to_decide
from backchannel.domain.supervision.open import (
    AGAIN,
    SERVICE,
    WAIT,
    Ask,
    asks,
    denies,
    opened,
    require_bounded,
)
from backchannel.domain.supervision.policy import Chain, limits_what_is_loose
from backchannel.domain.supervision.request import Request, place_of, waiting_of
from backchannel.domain.supervision.risk import Risk, assess
from backchannel.domain.supervision.run import Run, beginnings_of, loose_of
from backchannel.domain.supervision.run import place_of as place_of_run
from backchannel.domain.supervision.several import answered_all, named
from backchannel.domain.trust.decide import Asked, corrected
from backchannel.domain.trust.standing import Trust, trusted
from backchannel.domain.trust.standing import place_of as place_of_trust
from backchannel.errors import Conflict, Forbidden, NotFound
from backchannel.protocol.catalog import read_message
from backchannel.protocol.identifier import OPERATOR
from backchannel.protocol.supervision import AllowanceRevoke, ApprovalResponse, ToolRequest, ToolResult
from backchannel.service.context import Context
from backchannel.service.deciders import no_deciders, why_not_theirs
from backchannel.service.declare import Service
from backchannel.service.due import Due
from backchannel.service.meanwhile import forbidden_since
from backchannel.service.wanted import Wanted

service = Service(SERVICE, about=__doc__)


@service.on(ToolRequest, beside=True)
async def request(command: ToolRequest, ctx: Context) -> Decision:
    group, agent = ctx.asked.group, ctx.asked.agent
    require_bounded(command)
    risk = _risk(command, ctx)
    known, inforce, trust, habits, (chain, counted, run) = await asyncio.gather(
        _known(str(command.message_id), ctx),
        ctx.house.rights.get(group, agent),
        _trust(agent, risk.tool_class, ctx),
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
        risk,
        chain,
        Habit.read(habits, agent),
        run=run,
    )
    if asks(ask):
        ask = await _with_what_waits(ask, ctx)
    if denies(ask):
        found = await ctx.marked(denials.place_of(agent))
        ask = replace(ask, denials=denials.Denials.read(found))
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
    if wanted.fields.get("leave") is not None:
        return await _answered_on_leave(wanted.fields, ctx)
    return await _answered(_read(wanted.fields, ctx), wanted.caller, ctx.kind, ctx)


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
    known = await _known(due.key, ctx)
    gone = await no_deciders(known, ctx) if known is not None else ()
    return unanswered(known, ctx.house.settings().approvals, due.message_id, ctx.now, gone)


@service.due(denials.DENIALS)
async def denials_counted(due: Due, ctx: Context) -> Decision:
    known = denials.Denials.read(await ctx.marked(denials.place_of(due.key)))
    return denials.at_the_end(known, ctx.asked.group, ctx.now)


@service.due(AGAIN)
async def ask_again(due: Due, ctx: Context) -> Decision:
    known = await _known(due.key, ctx)
    gone = await no_deciders(known, ctx) if known is not None else ()
    return asked_again(known, ctx.house.settings().approvals, due.message_id, ctx.now, gone)


async def _answered(
    said: ApprovalResponse, by: str, kind: str, ctx: Context, since: float | None = None
) -> Decision:
    """What follows, for exactly the requests that the answer names: for all of them or for none.

    Args:
        since: when whoever answers got leave to (seconds since 1970); None if they show who they are now.
    """
    each = named(said)
    requests = {one.request_id: await _known(one.request_id, ctx) for one in each}
    rights = await ctx.house.rights.get(ctx.asked.group, by) if kind != OPERATOR else None
    gone = why_not_to_decide(by, rights, ctx.now.timestamp() if since is None else since)
    answers = []
    for one in each:
        known = requests[one.request_id]
        forbidden = await forbidden_since(known, ctx) if known is not None and one.approved else None
        unfit = gone or (await why_not_theirs(known, by, kind, ctx) if known is not None else None)
        settings = ctx.house.settings().approvals
        answers.append(Answer(one, by, kind, ctx.now, settings, _signer(ctx), forbidden, unfit=unfit))
    return answered_all(requests, answers)


async def _answered_on_leave(fields: Mapping[str, Any], ctx: Context) -> Decision:
    """What follows from an answer of somebody who has leave to give one, and no token."""
    said = _read(narrowed(fields), ctx)
    leave = Leave.read(str(fields["leave"]), ctx.house.grant_key.public_key(), ctx.now.timestamp())
    if (leave.group, leave.request_id) != (ctx.asked.group, said.request_id):
        raise Forbidden("The leave is for another request.", field="request_id")
    known = await _known(said.request_id, ctx)
    if known is not None and known.answered_after(leave.iat):
        raise Conflict(f"{known.decided_by or 'Somebody'} has answered since this leave was given.")
    return await _answered(said, leave.human, "human", ctx, since=leave.iat)


def _read(fields: Mapping[str, Any], ctx: Context) -> ApprovalResponse:
    said = read_message({**fields, "type": "approval_response", "timestamp": ctx.now.isoformat()})
    assert isinstance(said, ApprovalResponse)
    return said


def _risk(command: ToolRequest, ctx: Context) -> Risk:
    return assess(command.tool, command.params, ctx.house.settings().approvals.rules)


async def _known(request_id: str, ctx: Context) -> Request | None:
    if not _is_id(request_id):
        raise NotFound(f"There is no request {request_id[:64]!r}.", field="request_id")
    found = await ctx.marked(place_of(request_id))
    return Request.read(found) if found is not None else None


async def _with_what_waits(ask: Ask, ctx: Context) -> Ask:
    """With what matters only where a human is to be asked."""
    waiting, allowances, flock = await asyncio.gather(
        ctx.house.marks(ask.group, waiting_of(ask.agent)),
        _allowances(ask, ctx),
        ctx.marked(place_of_flock(ask.agent, ask.message.tool, ask.risk)),
    )
    return replace(ask, pending=len(waiting), allowances=allowances, flock=Flock.read(flock))


async def _trust(agent: str, tool_class: str, ctx: Context) -> Trust:
    return Trust.read(await ctx.marked(place_of_trust(agent, tool_class)), agent, tool_class)


async def _corrected(known: Request | None, command: ToolResult, ctx: Context) -> Decision:
    by = ctx.asked.agent
    if known is None or (ctx.kind != OPERATOR and by not in known.ladder):
        raise NotFound(f"There is no request {command.request_id} for {by} to judge.", field="request_id")
    if (unfit := await why_not_theirs(known, by, ctx.kind, ctx)) is not None:
        raise Forbidden(f"{by} does not judge this: {unfit}.", field="request_id")
    if known.state != "approved":
        raise Conflict(f"The request is {known.state}; nothing was done on it.", field="request_id")
    asked = Asked.read(asdict(known))
    trust = await _trust(asked.agent, asked.tool_class, ctx)
    return corrected(asked, trust, command, by, ctx.house.settings().trust, ctx.now)


def _is_id(text: str) -> bool:
    return 0 < len(text) <= 64 and all(letter.isalnum() or letter in "-_" for letter in text)


def _again(known: Request, command: ToolRequest, ctx: Context) -> Decision:
    """The same request once more; its follow-ups are in the log. Raises Conflict for another's id."""
    wanted = digest_of_action(ctx.asked.group, ctx.asked.agent, command.tool, command.params)
    if known.agent == ctx.asked.agent and known.digest == wanted:
        return Decision(repeated=True)
    raise Conflict("Another request has this message_id; choose a new one.", field="message_id")


async def _allowances(ask: Ask, ctx: Context) -> Sequence[Allowance]:
    """Those for this agent and tool, as the leader of the log has them: one taken back is gone at once.

    So is one of a human who was sent away since, or decides about this agent no more.
    """
    listed = [Allowance.read(one) for one in await ctx.house.marks(ask.group, allowance.FAMILY)]
    fits = [one for one in listed if (one.agent, one.tool) == (ask.agent, ask.message.tool)]
    good = []
    for one in fits:
        mark, rights = await asyncio.gather(
            ctx.marked(allowance.place_of(one.allowance_id)), ctx.house.rights.get(ask.group, one.by)
        )
        if mark and allowance.why_void(one, ask.ladder, rights) is None:
            good.append(Allowance.read(mark))
    return good


async def _chain(command: ToolRequest, ctx: Context) -> tuple[Chain, tuple[Mark, ...], str | None]:
    """The run of calls that a request belongs to: by its cause, its trace, its id, or the chain it names.

    And what has to be counted if it goes on, and where that run is marked.
    """
    agent, cause = ctx.asked.agent, await _cause(command, ctx)
    place = place_of_run(agent, command, cause)
    chain, counted = Chain(command.chain), []
    if place is not None:
        named = cause is not None or (command.chain_id or command.trace_id) is not None
        run = Run.read(place, named, await ctx.marked(place), ctx.now).led_by(cause)
        chain, counted = replace(chain, before=len(run.times)), [run.with_one_more(ctx.now)]
        if run.times:
            return chain, tuple(counted), place
        if (door := beginnings_of(agent, command)) is not None:
            begun = Run.read(door, False, await ctx.marked(door), ctx.now)
            chain, counted = replace(chain, begun=len(begun.times)), [*counted, begun.with_one_more(ctx.now)]
    if limits_what_is_loose(ctx.claims()) and (door := loose_of(agent, command)) is not None:
        loose = Run.read(door, False, await ctx.marked(door), ctx.now)
        chain, counted = replace(chain, loose=len(loose.times)), [*counted, loose.with_one_more(ctx.now)]
    return chain, tuple(counted), place


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
