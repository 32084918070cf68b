"""Answers: what a human decides of a request, and what happens when nobody does."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from backchannel.domain.audit import Deed
from backchannel.domain.canonical import digest
from backchannel.domain.decision import Decision, Outgoing, Timer
from backchannel.domain.execution import CALL, Execution, ended_by_agent
from backchannel.domain.execution import SERVICE as GRANT
from backchannel.domain.settings import Approvals
from backchannel.domain.supervision.allowance import Allowance, read_wish, seen_in, with_allowance
from backchannel.domain.supervision.conditions import understood
from backchannel.domain.supervision.moment import moment
from backchannel.domain.supervision.open import (
    AGAIN,
    SERVICE,
    WAIT,
    Sign,
    deeds_of,
    facts_of,
    granted,
    waiting,
)
from backchannel.domain.supervision.request import Request
from backchannel.domain.supervision.rules import LEVELS
from backchannel.domain.supervision.saying import closed, decision, question
from backchannel.errors import BadMessage, Conflict, Forbidden, NotFound
from backchannel.protocol.identifier import OPERATOR
from backchannel.protocol.message import rfc3339
from backchannel.protocol.supervision import ApprovalResponse, ToolResult


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and who gives it; `kind` is agent, human, service or operator, and comes from the token.

    `first`: it is the one that the answer is about, not one more that is decided with it.
    `forbidden` says why nobody can approve it any more, `unfit` why this human decides nothing about it.
    """

    message: ApprovalResponse
    by: str
    kind: str
    now: datetime
    settings: Approvals
    sign: Sign
    forbidden: str | None
    first: bool = True
    unfit: str | None = None


def answered(request: Request | None, answer: Answer) -> Decision:
    """What follows from an answer.

    Raises:
        NotFound: there is no such request, or it is none of theirs.
        Forbidden: only humans decide, nobody decides their own request, and nobody what is forbidden by now.
        Conflict: somebody was first.
        BadMessage: a condition, a time or a wish cannot be understood; nothing is decided.
    """
    request = _theirs(request, answer)
    cause = f"{answer.by}:{answer.message.message_id}"
    if not request.open:
        raise Conflict(
            f"{request.decided_by or 'The policy'} has decided this before: {request.state},"
            f" because {request.reason}",
            field="request_id",
        )
    message = answer.message
    if message.approved and message.reschedule is not None:
        raise BadMessage(
            "An approval is for now, and 'reschedule' has it asked again later; leave one of them out.",
            field="reschedule",
        )
    if message.approved and answer.forbidden is not None:
        raise Forbidden(f"It cannot be approved: {answer.forbidden}.", field="approved")
    request = replace(request, decided_by=answer.by, decided_at=rfc3339(answer.now), reason=message.reason)
    if message.alternatives:
        request = replace(request, alternatives=list(message.alternatives))
    if message.reschedule is not None and not message.approved:
        return _put_off(request, answer, cause)
    return _approved(request, answer, cause) if message.approved else _denied(request, answer, cause)


def unanswered(
    request: Request | None,
    settings: Approvals,
    message_id: UUID,
    now: datetime,
    gone: Collection[str] = (),
) -> Decision:
    """The time of whoever was asked is over: ask the next one, or deny.

    Args:
        gone: those who were to be asked and may not decide it any more; nothing is shown to them.
    """
    if request is None or request.state != "pending" or (request.until or 0) > now.timestamp():
        return Decision()
    rest = [name for name in request.ladder if name not in request.asked and name not in gone]
    if not rest:
        return _given_up(request, message_id, now)
    until = now + timedelta(seconds=settings.timeout)
    request = replace(request, asked=[*request.asked, rest[0]], until=until.timestamp())
    return Decision(
        events=(question(request, rest[0], message_id, now, escalated=True),),
        marks=request.marks(),
        timers=(waiting(request),),
        deeds=(_deed(request, "supervision", "escalated", {"to": rest[0]}),),
    )


def asked_again(
    request: Request | None,
    settings: Approvals,
    message_id: UUID,
    now: datetime,
    gone: Collection[str] = (),
) -> Decision:
    """The time has come for which it was put off. `gone` as for `unanswered`."""
    if request is None or request.state != "rescheduled":
        return Decision()
    until = now + timedelta(seconds=settings.timeout)
    ladder = [name for name in request.ladder if name not in gone]
    asked = [request.decided_by] if request.decided_by in ladder else ladder[:1]
    request = replace(request, state="pending", asked=asked, until=until.timestamp(), decided_by=None)
    told = [question(request, name, message_id, now, again=True) for name in asked]
    return Decision(
        events=(decision(request, message_id, now), *told),
        marks=request.marks(),
        timers=(waiting(request),),
        deeds=(_deed(request, "supervision", "asked_again", {}),),
    )


def told_by_agent(
    request: Request | None, run: Execution | None, agent: str, message: ToolResult, now: datetime
) -> Decision:
    """The agent ran a tool of its own on its grant and says how it went.

    Raises:
        NotFound: there is no such request of this agent.
        Conflict: it was not approved, or a worker has it.
    """
    if request is None or request.agent != agent:
        raise NotFound(f"There is no request {message.request_id} of {agent}.", field="request_id")
    if request.state != "approved" or request.grant_id is None:
        raise Conflict(f"The request is {request.state}; nothing may be done on it.", field="request_id")
    if run is not None and run.state != "void":  # who acted although it was called off had better tell
        raise Conflict(f"{run.worker} has acted on this grant; its result counts.", field="request_id")
    outcome: Mapping[str, Any] = {
        "success": message.success,
        "result": message.result,
        "error": message.error,
    }
    told = (request.grant_id, request.request_id, request.group, agent, request.tool)
    ended = ended_by_agent(*told, message.success)
    facts = {"grant_id": request.grant_id, "request_id": request.request_id, "tool": request.tool}
    facts |= {"worker": agent, **outcome}
    of = f"grant:{request.grant_id}"
    return Decision(
        result={"request_id": request.request_id},
        marks=(ended.mark(),),
        timers=(Timer(GRANT, CALL, request.grant_id, None),),
        deeds=(Deed.result(request.group, "tool", agent, "execute", facts, of),),
    )


def _theirs(request: Request | None, answer: Answer) -> Request:
    """Raises NotFound or Forbidden."""
    if answer.kind not in ("human", OPERATOR):
        raise Forbidden("Only a human decides about tools; no agent or service does.", field="type")
    known = request is not None and (answer.kind == OPERATOR or answer.by in (*request.ladder, request.agent))
    if request is None or not known:
        raise NotFound(f"There is no request {answer.message.request_id} for {answer.by} to decide.")
    if answer.by == request.agent:
        raise Forbidden("Nobody decides about their own request.", field="request_id")
    if answer.unfit is not None:
        raise Forbidden(f"{answer.by} does not decide this: {answer.unfit}.", field="request_id")
    return request


def _approved(request: Request, answer: Answer, cause: str) -> Decision:
    conditions = understood(answer.message.conditions)
    allowance = _allowance(request, answer, conditions)
    request = replace(request, state="approved", conditions=conditions, alternatives=[], until=None)
    grant, request, call, again = granted(request, answer.settings.grant_seconds, answer.now, answer.sign)
    decided = Decision(
        events=_told(request, answer, grant),
        result={"request_id": request.request_id, "decision": "approved", "conditions": conditions},
        marks=request.marks(),
        timers=(again, _no_more(WAIT, request), _no_more(AGAIN, request)),
        deeds=_deeds(request, answer, cause),
        calls=(call,),
    )
    return decided if allowance is None else with_allowance(decided, allowance, request.group, answer.now)


def _denied(request: Request, answer: Answer, cause: str) -> Decision:
    request = replace(request, state="denied", until=None)
    return Decision(
        events=_told(request, answer),
        result={"request_id": request.request_id, "decision": "denied"},
        marks=request.marks(),
        timers=(_no_more(WAIT, request), _no_more(AGAIN, request)),
        deeds=_deeds(request, answer, cause),
    )


def _put_off(request: Request, answer: Answer, cause: str) -> Decision:
    at = moment(answer.message.reschedule, answer.now)
    request = replace(request, state="rescheduled", until=at.timestamp())
    return Decision(
        events=_told(request, answer),
        result={"request_id": request.request_id, "decision": "rescheduled", "at": rfc3339(at)},
        marks=request.marks(),
        timers=(_no_more(WAIT, request), Timer(SERVICE, AGAIN, request.request_id, at)),
        deeds=_deeds(request, answer, cause),
    )


def _given_up(request: Request, message_id: UUID, now: datetime) -> Decision:
    whom = ", ".join(request.asked) or "an operator"
    reason = f"nobody decided in time; {whom} was asked"
    request = replace(request, state="denied", reason=reason, decided_at=rfc3339(now), until=None)
    told = [closed(request, name, message_id, now) for name in request.asked]
    _, result = deeds_of(request, "denied", reason=reason, asked=request.asked)
    return Decision(
        events=(decision(request, message_id, now), *told), marks=request.marks(), deeds=(result,)
    )


def _told(request: Request, answer: Answer, grant: str | None = None) -> tuple[Outgoing, ...]:
    """The agent, and everybody else who was asked."""
    message_id, now = answer.message.message_id, answer.now
    others = [name for name in request.asked if name != answer.by]
    return (
        decision(request, message_id, now, grant),
        *(closed(request, name, message_id, now) for name in others),
    )


def _deeds(request: Request, answer: Answer, cause: str) -> tuple[Deed, ...]:
    facts = facts_of(request) | {"answer": str(answer.message.message_id), "as": answer.kind}
    of = f"answer:{cause}"
    kept = {"state": request.state, "request_id": request.request_id}
    _, result = deeds_of(request, request.state)
    return (
        Deed.intent(request.group, "approval", answer.by, request.state, facts, of),
        Deed.result(request.group, "approval", answer.by, request.state, kept, of),
        *((result,) if request.state != "rescheduled" else ()),
    )


def _deed(request: Request, entity: str, action: str, more: Mapping[str, Any]) -> Deed:
    return Deed(request.group, "approval", entity, action, {"request_id": request.request_id, **more})


def _allowance(request: Request, answer: Answer, conditions: list[dict[str, Any]]) -> Allowance | None:
    """By which calls like this one go on for a while, if the answer wants that."""
    wish = (answer.message.model_extra or {}).get("allow")
    if wish is None or not answer.first:
        return None
    seconds, prefix, equal = read_wish(wish)
    return Allowance(
        allowance_id=digest({"by": answer.by, "answer": str(answer.message.message_id)})[:32],
        agent=request.agent,
        tool=request.tool,
        by=answer.by,
        until=answer.now.timestamp() + seconds,
        most_rank=LEVELS.index(request.risk["level"]),
        path_prefix=prefix,
        equal=equal,
        conditions=conditions,
        seen=seen_in(request.params, prefix, equal),
        made_at=answer.now.timestamp(),
    )


def _no_more(name: str, request: Request) -> Timer:
    return Timer(SERVICE, name, request.request_id, None)
