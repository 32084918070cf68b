"""A request comes in: judged, and allowed, denied, or put before a human."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from backchannel.domain.audit import Deed
from backchannel.domain.canonical import canonical, digest
from backchannel.domain.decision import Call, Decision, Outgoing, Timer
from backchannel.domain.execution import calling, offer
from backchannel.domain.grant import Grant, digest_of_action
from backchannel.domain.settings import Approvals
from backchannel.domain.supervision.allowance import Allowance, covering
from backchannel.domain.supervision.conditions import Condition, enforced
from backchannel.domain.supervision.denials import LARGEST as LARGEST_DENIED
from backchannel.domain.supervision.denials import Denials, on_record
from backchannel.domain.supervision.flock import Flock, joined, place_of
from backchannel.domain.supervision.habit import Habit
from backchannel.domain.supervision.policy import Chain, Judgement, judge
from backchannel.domain.supervision.request import Request
from backchannel.domain.supervision.risk import Risk, alternatives
from backchannel.domain.supervision.saying import decision, question
from backchannel.domain.supervision.showing import cut
from backchannel.errors import TooLarge
from backchannel.protocol.claims import Claims
from backchannel.protocol.message import rfc3339
from backchannel.protocol.supervision import ToolRequest

SERVICE = "supervision"
WAIT, AGAIN = "wait", "again"
GRAVE = ("high", "critical")
"""Risks of which the supervisor is told at once, also where a level lets the call go on."""
MOST_PARAMS = 262_144
"""Bytes of the parameters of one call, as canonical JSON."""
MOST_REASONING = 65_536
"""Bytes of what an agent says in favour of it."""
Sign = Callable[[Grant], str]
NO_CHAIN, NO_HABIT = Chain(), Habit()


@dataclass(frozen=True, slots=True)
class Ask:
    """A tool request with all that is needed to decide it.

    Args:
        claims: what the asker may do now: its token, narrowed by the rights in force.
        risk: of exactly this call.
        chain, run: the run of calls it belongs to, and where that is marked.
        allowances: what humans allowed for a while, in force now.
        pending: how many requests of this agent wait already.
        flock: requests of this kind that came shortly before.
        denials: how often this agent was denied something of late.
    """

    message: ToolRequest
    group: str
    claims: Claims
    now: datetime
    settings: Approvals
    sign: Sign
    risk: Risk
    chain: Chain = NO_CHAIN
    habit: Habit = NO_HABIT
    allowances: Sequence[Allowance] = ()
    pending: int = 0
    flock: Flock | None = None
    run: str | None = None
    denials: Denials | None = None

    @property
    def agent(self) -> str:
        return self.claims.sub

    @property
    def ladder(self) -> list[str]:
        """Whom to ask, one after the other; never the asker itself."""
        claims = self.claims
        named = [claims.human_supervisor, claims.human_partner, *self.settings.fallback]
        return list(dict.fromkeys(name for name in named if name and name != self.agent))


def judged(ask: Ask) -> tuple[Judgement, Allowance | None]:
    """What policy makes of it, and the allowance that stands for an approval, if one does."""
    message = ask.message
    judgement = _judged_by_policy(ask)
    if judgement.verb != "ask":
        return judgement, None
    if ask.pending >= ask.settings.most_pending:
        why = f"{ask.pending} requests of {ask.agent} wait for an answer already"
        return Judgement("deny", (why,)), None
    return judgement, covering(ask.allowances, ask.agent, message.tool, message.params, ask.risk, ask.now)


def _judged_by_policy(ask: Ask) -> Judgement:
    unusual = ask.habit.unusual(ask.message.tool, ask.risk.paths, ask.now)
    return judge(ask.message.tool, ask.claims, ask.risk, ask.chain, unusual)


def asks(ask: Ask) -> bool:
    """Whether policy wants a human to be asked; then allowances and what waits already matter, too."""
    return _judged_by_policy(ask).verb == "ask"


def denies(ask: Ask) -> bool:
    """Whether it is denied; then it matters how often that happened of late."""
    return judged(ask)[0].verb == "deny"


def require_bounded(message: ToolRequest) -> None:
    """Raises TooLarge: nobody could read it before deciding."""
    for name, most, value in (
        ("params", MOST_PARAMS, message.params),
        ("agent_reasoning", MOST_REASONING, message.agent_reasoning),
    ):
        if (size := len(canonical(value))) > most:
            raise TooLarge(
                f"A request for a tool takes {most} bytes of {name}, and these are {size}; store what is"
                " large and say where it lies.",
                field=name,
            )


def opened(ask: Ask) -> Decision:
    """What follows from a tool request."""
    judgement, allowed = judged(ask)
    request = _request(ask, judgement)
    match judgement.verb:
        case "deny":
            return _denied(ask, request)
        case "ask" if allowed is None:
            return _asked(ask, request)
    if allowed is not None:
        by = f"{allowed.by} allowed this until {allowed.until_text}"
        request = replace(request, decided_by=allowed.by, reason=by, conditions=list(allowed.conditions))
    return _allowed(ask, request, judgement)


def granted(request: Request, seconds: float, now: datetime, sign: Sign) -> tuple[str, Request, Call, Timer]:
    """A grant for exactly this request, the call that brings it to a worker, and the timer of the next."""
    grant_id = digest({"grant": request.request_id, "agent": request.agent, "at": rfc3339(now)})[:32]
    conditions: list[Condition] = enforced(request.conditions or [])
    start = int(now.timestamp())
    grant = Grant(
        grant_id=grant_id,
        request_id=request.request_id,
        group=request.group,
        agent=request.agent,
        tool=request.tool,
        digest=request.digest,
        conditions=tuple(conditions),
        policy=request.policy,
        iat=start,
        exp=start + int(seconds),
    )
    text, params = sign(grant), request.params
    known = replace(request, grant_id=grant_id)
    return text, known, offer(grant, text, params), calling(grant_id, text, params, now)


def deeds_of(request: Request, action: str, **more: Any) -> tuple[Deed, Deed]:
    """The intent, which must be in the trail first, and what came of it."""
    facts = facts_of(request) | more
    of = f"request:{request.request_id}"
    return (
        Deed.intent(request.group, "tool", request.agent, action, facts, of),
        Deed.result(request.group, "tool", request.agent, action, {"state": request.state} | more, of),
    )


def facts_of(request: Request) -> dict[str, Any]:
    return {
        "request_id": request.request_id,
        "tool": request.tool,
        "params": request.params,
        "digest": request.digest,
        "policy": request.policy,
        "level": request.level,
        "risk": request.risk,
        "reasons": request.reasons,
        "agent_reasoning": request.agent_reasoning,
        "decision": request.state,
        "reason": request.reason,
        "decided_by": request.decided_by,
        "conditions": request.conditions,
    }


def waiting(request: Request) -> Timer:
    """The moment at which somebody else is asked, or it is denied."""
    return Timer(SERVICE, WAIT, request.request_id, _at(request.until))


def _request(ask: Ask, judgement: Judgement) -> Request:
    message = ask.message
    states: Mapping[str, Any] = {"allow": "approved", "ask": "pending", "deny": "denied"}
    return Request(
        request_id=str(message.message_id),
        group=ask.group,
        agent=ask.agent,
        tool=message.tool,
        params=message.params,
        digest=digest_of_action(ask.group, ask.agent, message.tool, message.params),
        policy=ask.settings.rules.version,
        level=ask.claims.supervision_level,
        risk=ask.risk.shown(),
        reasons=[*judgement.reasons, *(f"unusual: {flag}" for flag in judgement.flags)],
        state=states[judgement.verb],
        asked_at=rfc3339(ask.now),
        ladder=ask.ladder,
        asked=[],
        agent_reasoning=message.agent_reasoning,
        chain=message.chain,
        alternatives=alternatives(ask.risk),
        reason="; ".join(judgement.reasons),
        run=ask.run,
    )


def _allowed(ask: Ask, request: Request, judgement: Judgement) -> Decision:
    request = replace(request, state="approved", decided_at=rfc3339(ask.now), alternatives=[])
    grant, request, call, again = granted(request, ask.settings.grant_seconds, ask.now, ask.sign)
    told = [decision(request, ask.message.message_id, ask.now, grant)]
    if ask.ladder and (judgement.flags or request.risk["level"] in GRAVE):
        told.append(_flagged(request, ask, judgement))
    return Decision(
        events=tuple(told),
        result=_result(request),
        marks=(request.mark(), ask.habit.after(ask.message.tool, request, ask.now)),
        timers=(again,),
        deeds=deeds_of(request, "granted"),
        calls=(call,),
    )


def _asked(ask: Ask, request: Request) -> Decision:
    flock = joined(ask.flock, request.request_id, ask.settings.together, ask.now)
    until = ask.now + timedelta(seconds=ask.settings.timeout)
    asked = ask.ladder[:1]
    request = replace(request, state="pending", asked=asked, until=until.timestamp(), leader=flock.leader)
    told = [decision(request, ask.message.message_id, ask.now)]
    context = {
        "system_context": {"waiting_requests": ask.pending + 1, "level": request.level},
        "together": {"leader": flock.leader, "count": flock.count},
    }
    place = place_of(ask.agent, request.tool, ask.risk)
    told += [question(request, name, ask.message.message_id, ask.now, **context) for name in asked]
    intent, _ = deeds_of(request, "approval_requested")
    return Decision(
        events=tuple(told),
        result=_result(request),
        marks=(
            *request.marks(),
            ask.habit.after(ask.message.tool, request, ask.now),
            flock.mark(place, ask.settings.together),
        ),
        timers=(waiting(request),),
        deeds=(intent,),
    )


def _denied(ask: Ask, request: Request) -> Decision:
    """Nothing will be done on it, so no more of it is kept than says what it was."""
    said = {"params": request.params, "agent_reasoning": request.agent_reasoning}
    kept = cut(said, LARGEST_DENIED)
    request = replace(request, state="denied", decided_at=rfc3339(ask.now))
    request = replace(request, params=kept["params"], agent_reasoning=kept["agent_reasoning"])
    decided = Decision(
        events=(decision(request, ask.message.message_id, ask.now),),
        result=_result(request),
        marks=(request.mark(),),
        deeds=deeds_of(request, "denied", **{name: kept[name] for name in kept if name == "shortened"}),
    )
    return on_record(decided, request, ask.denials, SERVICE, ask.now)


def _flagged(request: Request, ask: Ask, judgement: Judgement) -> Outgoing:
    """It goes on; the supervisor is told that it is risky, or what is out of the ordinary."""
    more: dict[str, Any] = {"unusual": list(judgement.flags), "decided": True}
    return question(request, ask.ladder[0], ask.message.message_id, ask.now, **more)


def _result(request: Request) -> dict[str, Any]:
    fields: dict[str, Any] = {"request_id": request.request_id, "decision": request.state}
    if request.state == "denied":
        fields |= {"status": "denied", "code": "forbidden", "message": request.reason}
    return fields


def _at(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
