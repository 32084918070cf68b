"""How an agent stands with one class of tools: its level there, its evidence, and when that changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from backchannel.domain.canonical import digest
from backchannel.domain.decision import Mark
from backchannel.domain.inforce import FREEDOM, narrower
from backchannel.domain.settings import Trusting
from backchannel.domain.trust.evidence import Evidence, Outcome, weigh
from backchannel.protocol.claims import Claims, SupervisionLevel
from backchannel.protocol.identifier import is_identifier

FAMILY = "trust"
MOST = 500
"""Outcomes that are remembered; the oldest goes."""


@dataclass(frozen=True, slots=True)
class Step:
    """What has to be shown for the next level: so many calls, and so good a lower bound of success."""

    to: SupervisionLevel
    rate: float
    uses: int


STEPS: Mapping[SupervisionLevel, Step] = {
    "high": Step("medium", 0.95, 20),
    "medium": Step("low", 0.98, 50),
    "low": Step("autonomous", 0.99, 100),
}
SEVERE = ("high", "critical")
"""Risks of calls whose failure costs the level at once."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A change that the evidence brings about, or that it recommends to a human."""

    change: Literal["lowered", "recommended", "kept"]
    old: SupervisionLevel
    new: SupervisionLevel
    why: str
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Trust:
    """What is known of an agent and a class of tools.

    Args:
        level: the most freedom it has there; None if nobody has settled that yet.
        since: seconds since 1970 from which on evidence counts: each level is earned anew.
        recommended: what was recommended and not answered yet.
        by, at, reason: of the last change.
    """

    agent: str
    tool_class: str
    level: SupervisionLevel | None = None
    since: float = 0.0
    outcomes: tuple[Outcome, ...] = ()
    recommended: SupervisionLevel | None = None
    by: str | None = None
    at: str | None = None
    reason: str | None = None

    @classmethod
    def read(cls, content: Mapping[str, Any] | None, agent: str, tool_class: str) -> Trust:
        if not content:
            return cls(agent, tool_class)
        rows = tuple(map(Outcome.read, content["outcomes"]))
        return cls(**{**content, "outcomes": rows})

    def mark(self) -> Mark:
        content = {name: getattr(self, name) for name in self.__slots__}
        content["outcomes"] = [one.row() for one in self.outcomes]
        return Mark(place_of(self.agent, self.tool_class), content)

    def evidence(self, level: SupervisionLevel, recent: float, now: float) -> Evidence:
        """Of the calls granted at this level, not too long ago, since it was reached."""
        start = max(self.since, now - recent)
        return weigh(one for one in self.outcomes if one.at >= start and one.level == level)


def place_of(agent: str, tool_class: str) -> str:
    """The name under which it is marked. A class may be called anything; a subject may not."""
    return f"{FAMILY}.{agent}.{tool_class if is_identifier(tool_class) else digest(tool_class)[:32]}"


def trusted(claims: Claims, trust: Trust, settings: Trusting) -> Claims:
    """The claims as they are for this class of tools: never more than the token says."""
    level = narrower(claims.supervision_level, trust.level or settings.begins_at)
    return (
        claims
        if level == claims.supervision_level
        else claims.model_copy(update={"supervision_level": level})
    )


def learned(trust: Trust, outcome: Outcome, settings: Trusting) -> tuple[Trust, Turn | None]:
    """With one more outcome, and what that changes. A human's word replaces what was told before."""
    former = next((one for one in trust.outcomes if one.request_id == outcome.request_id), None)
    if former is not None and outcome.by == "worker":
        return trust, None
    others = tuple(one for one in trust.outcomes if one is not former)
    trust = replace(trust, outcomes=(*others, outcome)[-MOST:])
    evidence = trust.evidence(outcome.level, settings.recent, outcome.at)
    if not outcome.success and (outcome.severe or outcome.risk in SEVERE):
        return _lowered(trust, outcome, evidence)
    return _recommended(trust, outcome, evidence)


def lower(level: SupervisionLevel, much: bool) -> SupervisionLevel:
    """One step less freedom, or down to where every call is asked for; nothing is locked without a human."""
    if FREEDOM[level] <= FREEDOM["high"]:
        return level
    return "high" if much else next(name for name, step in STEPS.items() if step.to == level)


def _lowered(trust: Trust, outcome: Outcome, evidence: Evidence) -> tuple[Trust, Turn]:
    much = outcome.severe or outcome.risk == "critical"
    old = narrower(outcome.level, trust.level)
    level = narrower(lower(outcome.level, much), old)
    what = (
        "a failure that a human calls severe" if outcome.severe else f"a call of {outcome.risk} risk failed"
    )
    why = f"{what} (request {outcome.request_id})"
    trust = replace(trust, level=level, since=outcome.at, recommended=None, reason=why)
    change: Literal["lowered", "kept"] = "kept" if level == old else "lowered"
    return trust, Turn(change, old, level, why, evidence)


def _recommended(trust: Trust, outcome: Outcome, evidence: Evidence) -> tuple[Trust, Turn | None]:
    step = STEPS.get(outcome.level)
    if step is None or not outcome.success or trust.recommended == step.to:
        return trust, None
    if evidence.uses < step.uses or evidence.bound < step.rate:
        return trust, None
    why = (
        f"{evidence.uses} calls at the level {outcome.level}; at least {evidence.bound:.3f} of such calls"
        f" go well, and {step.rate} is asked for"
    )
    return replace(trust, recommended=step.to), Turn("recommended", outcome.level, step.to, why, evidence)
