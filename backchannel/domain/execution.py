"""What becomes of a granted action: called, taken by one worker, reported, or lost with its worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from backchannel.domain.audit import Deed
from backchannel.domain.decision import Call, Decision, Mark, Outgoing, Timer
from backchannel.domain.grant import Grant
from backchannel.errors import Conflict, Forbidden, NotFound
from backchannel.protocol.identifier import PLATFORM
from backchannel.protocol.lane import Lane
from backchannel.protocol.subject import InInbox
from backchannel.protocol.supervision import ToolResult

SERVICE = "grant"
CALL, OVERDUE = "call", "overdue"
KEPT = 86_400
"""Seconds for which it stays known, beyond the grant's own end, that it was used."""

CALLED_AGAIN = 10.0
"""Seconds after which a call that nobody took is made again."""

State = Literal["running", "done", "lost", "void"]


class GrantUsed(Forbidden):
    """The grant was used before; it is good for one execution."""


@dataclass(frozen=True, slots=True)
class Execution:
    """How far a granted action has come. `redemption` is the id of the request by which it was taken.

    `success` is as it was told; None while that is not known.
    """

    grant_id: str
    request_id: str
    group: str
    agent: str
    tool: str
    worker: str
    redemption: str
    state: State
    until: float
    kept: int
    success: bool | None = None

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Execution:
        return cls(**content)

    def mark(self) -> Mark:
        content = {name: getattr(self, name) for name in self.__slots__}
        return Mark(place_of(self.grant_id), content, self.kept)


def place_of(grant_id: str) -> str:
    """The name under which an execution is marked; no two deciders may change it at once."""
    return f"grant-{grant_id}"


def take(
    grant: Grant, known: Execution | None, worker: str, redemption: UUID, seconds: float, now: datetime
) -> Decision:
    """A worker begins: the grant is used up from here on, whatever happens to the worker.

    Args:
        seconds: within which it must report.

    Raises:
        GrantUsed: somebody has begun before.
        Forbidden: it was called off before anybody began.
    """
    if known is not None and known.state == "void":
        raise Forbidden("The grant is not good any more; its agent was told why.", field="grant")
    if known is not None:
        if known.redemption == str(redemption):
            return Decision(repeated=True, result={"until": known.until})
        raise GrantUsed(f"The grant was used by {known.worker}; ask for the tool again.")
    end = now + timedelta(seconds=seconds)
    begun = _execution(grant, worker, redemption, "running", end.timestamp(), now)
    facts = _facts(grant) | {"worker": worker, "conditions": [dict(one) for one in grant.conditions]}
    return Decision(
        result={"until": begun.until},
        marks=(begun.mark(),),
        timers=(Timer(SERVICE, OVERDUE, grant.grant_id, end), Timer(SERVICE, CALL, grant.grant_id, None)),
        deeds=(Deed.intent(grant.group, "tool", grant.agent, "execute", facts, f"grant:{grant.grant_id}"),),
    )


def report(
    known: Execution | None, worker: str, outcome: Mapping[str, Any], message_id: UUID, now: datetime
) -> Decision:
    """The worker says how it went: ``{success, result, error}``. The agent hears of it, and the trail.

    Raises:
        NotFound: nobody has begun this.
        Forbidden: another worker has.
        Conflict: it is over already, because it was reported or counted as lost.
    """
    if known is None:
        raise NotFound("Nobody has begun to act on this grant; redeem it first.", field="grant_id")
    if known.worker != worker:
        raise Forbidden(f"{known.worker} acts on this grant, not {worker}.", field="grant_id")
    if known.state != "running":
        raise Conflict(f"This execution is {known.state}; what it came to is told already.")
    return _ended(known, "done", outcome, message_id, now)


def overdue(known: Execution | None, message_id: UUID, now: datetime) -> Decision:
    """The time of the worker is over. If it has not reported, nobody knows what it did: that is a result."""
    if known is None or known.state != "running":
        return Decision()
    told = (
        f"The worker {known.worker} began and did not report in time. Whether it did anything is not known:"
        " look before you ask for the same again."
    )
    return _ended(known, "lost", {"success": False, "result": None, "error": told}, message_id, now)


def ended_by_agent(
    grant_id: str, request_id: str, group: str, agent: str, tool: str, success: bool
) -> Execution:
    """An execution by the agent itself, with a tool of its own, of which it has told the end."""
    return Execution(grant_id, request_id, group, agent, tool, agent, request_id, "done", 0.0, KEPT, success)


def offer(grant: Grant, text: str, params: Mapping[str, Any]) -> Call:
    """What workers are told of a grant and the call that it is for."""
    content = {
        "grant": text,
        "grant_id": grant.grant_id,
        "request_id": grant.request_id,
        "agent_id": grant.agent,
        "tool": grant.tool,
        "params": dict(params),
        "conditions": [dict(one) for one in grant.conditions],
    }
    return Call(grant.group, grant.tool, content)


def calling(grant_id: str, grant: str, params: Mapping[str, Any], now: datetime, tries: int = 0) -> Timer:
    """The timer by which workers are called again and again, until one has begun."""
    about = {"grant": grant, "params": dict(params), "tries": tries + 1}
    return Timer(SERVICE, CALL, grant_id, now + again_after(tries), about)


def again_after(tries: int) -> timedelta:
    """How long to wait for a worker to begin before it is called again."""
    return timedelta(seconds=min(2.0**tries, CALLED_AGAIN))


def called_off(grant: Grant, why: str, message_id: UUID, now: datetime) -> Decision:
    """What it rests on was taken from the agent before anybody began: nobody will, and the agent hears so."""
    told = f"Nothing was done: {why}. The grant is not good any more; ask for the tool again when you may."
    void = _execution(grant, PLATFORM, message_id, "void", 0.0, now)
    facts = _facts(grant) | {"outcome": "void", "success": False, "error": told}
    event = _told(grant.agent, grant.request_id, {"success": False, "error": told}, None, message_id, now)
    return Decision(
        events=(event,),
        result={"status": "denied", "code": Forbidden.code, "message": told, "field": "grant"},
        marks=(void.mark(),),
        timers=(Timer(SERVICE, CALL, grant.grant_id, None),),
        deeds=(Deed.result(grant.group, "tool", grant.agent, "execute", facts, f"grant:{grant.grant_id}"),),
    )


def nobody_came(grant: Grant, message_id: UUID, now: datetime) -> Decision:
    """The grant has lapsed and no worker has begun."""
    told = f"No worker for {grant.tool} took the call before the grant lapsed; nothing was done."
    facts = _facts(grant) | {"outcome": "not taken"}
    event = _told(grant.agent, grant.request_id, {"success": False, "error": told}, None, message_id, now)
    deed = Deed.result(grant.group, "tool", grant.agent, "execute", facts, f"grant:{grant.grant_id}")
    return Decision(events=(event,), deeds=(deed,))


def _facts(grant: Grant) -> dict[str, Any]:
    """What the trail keeps of any grant."""
    named = {"grant_id": grant.grant_id, "request_id": grant.request_id}
    return named | {"tool": grant.tool, "digest": grant.digest}


def _execution(
    grant: Grant, worker: str, redemption: UUID, state: State, until: float, now: datetime
) -> Execution:
    kept = int(max(grant.exp - now.timestamp(), 0)) + KEPT
    who = (grant.grant_id, grant.request_id, grant.group, grant.agent, grant.tool)
    return Execution(*who, worker, str(redemption), state, until, kept)


def _ended(
    known: Execution, state: State, outcome: Mapping[str, Any], message_id: UUID, now: datetime
) -> Decision:
    ended = replace(known, state=state, success=bool(outcome.get("success")) if state == "done" else None)
    facts: dict[str, Any] = {"grant_id": known.grant_id, "request_id": known.request_id, "tool": known.tool}
    facts |= {"worker": known.worker, "outcome": state}
    facts |= {
        "success": outcome.get("success"),
        "result": outcome.get("result"),
        "error": outcome.get("error"),
    }
    of = f"grant:{known.grant_id}"
    return Decision(
        events=(_told(known.agent, known.request_id, outcome, known.worker, message_id, now),),
        marks=(ended.mark(),),
        timers=(Timer(SERVICE, OVERDUE, known.grant_id, None),) if state == "done" else (),
        deeds=(Deed.result(known.group, "tool", known.agent, "execute", facts, of),),
    )


def _told(
    agent: str,
    request_id: str,
    outcome: Mapping[str, Any],
    worker: str | None,
    message_id: UUID,
    now: datetime,
) -> Outgoing:
    said = ToolResult(
        message_id=message_id,
        timestamp=now,
        sender_agent_id=PLATFORM,
        request_id=request_id,
        in_reply_to=request_id,
        success=bool(outcome.get("success")),
        result=outcome.get("result"),
        error=outcome.get("error"),
        reported_by=worker,
    )
    return Outgoing(InInbox(agent, "result"), Lane.HIGH, said)
