"""What follows for trust when a call has ended, and when a human settles a level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from backchannel.domain.audit import Deed
from backchannel.domain.decision import Decision, Outgoing
from backchannel.domain.settings import Trusting
from backchannel.domain.trust.evidence import Outcome, Teller
from backchannel.domain.trust.standing import STEPS, Trust, Turn, learned
from backchannel.errors import BadMessage, Forbidden
from backchannel.protocol.claims import SupervisionLevel
from backchannel.protocol.identifier import OPERATOR, PLATFORM
from backchannel.protocol.lane import Lane
from backchannel.protocol.message import rfc3339
from backchannel.protocol.subject import InInbox
from backchannel.protocol.supervision import ToolResult, TrustNotice, TrustUpdate

SERVICE = "trust"


@dataclass(frozen=True, slots=True)
class Asked:
    """What trust needs to know of a request for a tool; see `Asked.read`."""

    request_id: str
    group: str
    agent: str
    tool_class: str
    risk: str
    level: SupervisionLevel
    humans: tuple[str, ...]

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Asked:
        """From the mark of a request."""
        risk = content["risk"]
        names = ("request_id", "group", "agent", "level")
        kept: dict[str, Any] = {name: content[name] for name in names}
        return cls(
            **kept, tool_class=risk["tool_class"], risk=risk["level"], humans=tuple(content.get("ladder", ()))
        )

    def outcome(self, success: bool, now: datetime, by: Teller, severe: bool = False) -> Outcome:
        return Outcome(self.request_id, _seconds(now), success, self.risk, self.level, by, severe)


def learning(
    decision: Decision,
    asked: Asked,
    trust: Trust,
    outcome: Outcome,
    settings: Trusting,
    message_id: UUID,
    now: datetime,
) -> Decision:
    """The same decision, in which the outcome is also remembered; a level that it costs is lost at once."""
    after, turn = learned(trust, outcome, settings)
    if after == trust:
        return decision
    if turn is not None and turn.change == "lowered":
        after = replace(after, by=PLATFORM, at=rfc3339(now))
    told = () if turn is None else _told(asked, turn, message_id, now)
    deeds = () if turn is None else _deeds(asked, turn)
    return replace(
        decision,
        events=(*decision.events, *told),
        marks=(*decision.marks, after.mark()),
        deeds=(*decision.deeds, *deeds),
    )


def settled(trust: Trust, update: TrustUpdate, by: str, group: str, now: datetime) -> Decision:
    """A human says which level an agent has with a class of tools. What it showed before counts no more.

    Raises:
        Forbidden: nobody decides how far they are trusted themselves.
    """
    if by == update.agent_id:
        raise Forbidden("Nobody decides how far they are trusted themselves.", field="agent_id")
    former, at = trust.level, rfc3339(now)
    after = replace(
        trust,
        level=update.level,
        since=_seconds(now),
        recommended=None,
        by=by,
        at=at,
        reason=update.reason,
    )
    facts = {"tool_class": trust.tool_class, "from": former, "to": update.level}
    facts |= {"reason": update.reason, "decided_by": by, "recommended": trust.recommended}
    of = f"trust:{update.message_id}"
    return Decision(
        result={"agent_id": trust.agent, "tool_class": trust.tool_class, "level": update.level},
        marks=(after.mark(),),
        deeds=(
            Deed.intent(group, "approval", trust.agent, "trust_set", facts, of),
            Deed.result(group, "approval", trust.agent, "trust_set", {"to": update.level}, of),
        ),
    )


def corrected(
    asked: Asked, trust: Trust, said: ToolResult, by: str, settings: Trusting, now: datetime
) -> Decision:
    """A human says how an approved call really went; that replaces what was told before.

    Raises:
        BadMessage: it succeeded and is called severe.
    """
    if said.success and said.severe:
        raise BadMessage("What succeeded is no severe failure.", field="severe")
    outcome = asked.outcome(said.success, now, "human", said.severe)
    facts = {"success": said.success, "severe": said.severe, "told_by": by, "result": said.result}
    facts |= {"error": said.error, "tool_class": asked.tool_class, "request_id": asked.request_id}
    of = f"outcome:{said.message_id}"
    told = Decision(
        result={"request_id": asked.request_id, "success": said.success},
        deeds=(
            Deed.intent(asked.group, "approval", asked.agent, "outcome_told", facts, of),
            Deed.result(asked.group, "approval", asked.agent, "outcome_told", {"told_by": by}, of),
        ),
    )
    return learning(told, asked, trust, outcome, settings, said.message_id, now)


def shown(trust: Trust, settings: Trusting, now: float) -> dict[str, Any]:
    """As a list shows it: the level there, what the evidence says, and what the next level takes."""
    level = trust.level or (trust.outcomes[-1].level if trust.outcomes else settings.begins_at)
    step = STEPS.get(level)
    return {
        "agent_id": trust.agent,
        "tool_class": trust.tool_class,
        "level": level,
        "settled": trust.level is not None,
        **trust.evidence(level, settings.recent, now).shown(),
        "next": None if step is None else {"level": step.to, "lower_bound": step.rate, "uses": step.uses},
        "recommended": trust.recommended,
        "by": trust.by,
        "at": trust.at,
        "reason": trust.reason,
    }


def may_settle(by: str, kind: str, agent: str, charges: frozenset[str]) -> bool:
    """Whether somebody may say how far an agent is trusted: an operator, or the human it answers to."""
    return kind == OPERATOR or (kind == "human" and agent in charges)


def _seconds(now: datetime) -> float:
    """Since 1970, in whole milliseconds: many are kept, and compared."""
    return round(now.timestamp(), 3)


def _told(asked: Asked, turn: Turn, message_id: UUID, now: datetime) -> tuple[Outgoing, ...]:
    said = TrustNotice(
        message_id=message_id,
        timestamp=now,
        sender_agent_id=PLATFORM,
        agent_id=asked.agent,
        tool_class=asked.tool_class,
        change=turn.change,
        level=turn.old,
        new_level=turn.new,
        message=_words(asked, turn),
        evidence=turn.evidence.shown(),
        request_id=asked.request_id,
    )
    lane = Lane.NORMAL if turn.change == "recommended" else Lane.HIGH
    return tuple(Outgoing(InInbox(human, "notice"), lane, said) for human in asked.humans[:1])


def _words(asked: Asked, turn: Turn) -> str:
    whose = f"{asked.agent} with tools of the class {asked.tool_class}"
    match turn.change:
        case "lowered":
            return f"The level of {whose} is {turn.new} from now on, not {turn.old}: {turn.why}."
        case "kept":
            return f"The level of {whose} stays {turn.old}: {turn.why}. You may lock it."
    return (
        f"The level {turn.new} is recommended for {whose}: {turn.why}. Nothing changes unless you confirm it,"
        " and then no further than its token says."
    )


def _deeds(asked: Asked, turn: Turn) -> tuple[Deed, ...]:
    facts = {"tool_class": asked.tool_class, "from": turn.old, "to": turn.new, "why": turn.why}
    facts |= turn.evidence.shown()
    action, of = f"trust_{turn.change}", f"request:{asked.request_id}"
    if turn.change != "lowered":
        return (Deed(asked.group, "approval", asked.agent, action, facts, of=of),)
    return (
        Deed.intent(asked.group, "approval", asked.agent, action, facts, of),
        Deed.result(asked.group, "approval", asked.agent, action, {"to": turn.new}, of),
    )
