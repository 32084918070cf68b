"""Allowances: a human's word that calls of one kind may go on for a while without being asked for."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from backchannel.domain.audit import Deed
from backchannel.domain.decision import Decision, Mark
from backchannel.domain.supervision.risk import Risk
from backchannel.errors import BadMessage, Forbidden, NotFound
from backchannel.protocol.identifier import OPERATOR
from backchannel.protocol.message import rfc3339
from backchannel.protocol.supervision import AllowanceRevoke

FAMILY = "allowance"
LONGEST = 86_400.0
"""Seconds; who wants more changes the token."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """`agent` may use `tool` until `until` (seconds since 1970), if all paths lie below `path_prefix` and the
    named parameters have these values. Risk above that of the call it was made for is asked for again."""

    allowance_id: str
    agent: str
    tool: str
    by: str
    until: float
    most_rank: int
    path_prefix: str | None = None
    equal: dict[str, Any] = field(default_factory=dict)
    conditions: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Allowance:
        return cls(**content)

    @property
    def until_text(self) -> str:
        return rfc3339(datetime.fromtimestamp(self.until, UTC))

    def mark(self, now: datetime) -> Mark:
        """It lapses by itself."""
        return Mark(place_of(self.allowance_id), asdict(self), max(1, int(self.until - now.timestamp())))

    def covers(self, agent: str, tool: str, params: Mapping[str, Any], risk: Risk, now: datetime) -> bool:
        if (agent, tool) != (self.agent, self.tool) or now.timestamp() >= self.until:
            return False
        if risk.rank > self.most_rank or any(params.get(name) != value for name, value in self.equal.items()):
            return False
        return self.path_prefix is None or (
            bool(risk.paths) and all(_below(path, self.path_prefix) for path in risk.paths)
        )


def covering(
    allowances: Sequence[Allowance],
    agent: str,
    tool: str,
    params: Mapping[str, Any],
    risk: Risk,
    now: datetime,
) -> Allowance | None:
    """The first that covers a call."""
    return next((one for one in allowances if one.covers(agent, tool, params, risk, now)), None)


def with_allowance(decided: Decision, made: Allowance, group: str, now: datetime) -> Decision:
    """The same decision, by which calls of this kind go on for a while; that is on record before it holds."""
    told = {"allowance_id": made.allowance_id, "until": made.until_text}
    facts = asdict(made) | told
    of = f"allowance_made:{made.allowance_id}"
    return replace(
        decided,
        result={**decided.result, "allowance": told},
        marks=(*decided.marks, made.mark(now)),
        deeds=(
            *decided.deeds,
            Deed.intent(group, "approval", made.agent, "allowance_made", facts, of),
            Deed.result(group, "approval", made.agent, "allowance_made", told, of),
        ),
    )


def revoked(
    known: Allowance | None, said: AllowanceRevoke, by: str, kind: str, humans: Collection[str], group: str
) -> Decision:
    """It is taken back.

    Args:
        humans: who looks after the agent that it was made for.

    Raises:
        Forbidden: no agent takes back what a human said.
        NotFound: there is none, not any more, or it is not theirs.
    """
    if kind not in ("human", OPERATOR):
        raise Forbidden("Only a human takes back what a human allowed.", field="type")
    if known is None or not (kind == OPERATOR or by == known.by or by in humans):
        raise NotFound(
            f"There is no allowance {said.allowance_id[:64]} in force for {by} to take back.",
            field="allowance_id",
        )
    facts = asdict(known) | {"revoked_by": by, "reason": said.reason}
    of = f"allowance:{known.allowance_id}"
    return Decision(
        result={"allowance_id": known.allowance_id, "agent": known.agent, "tool": known.tool},
        marks=(Mark(place_of(known.allowance_id), {}, 1),),
        deeds=(
            Deed.intent(group, "approval", known.agent, "allowance_revoked", facts, of),
            Deed.result(group, "approval", known.agent, "allowance_revoked", {"revoked_by": by}, of),
        ),
    )


def place_of(allowance_id: str) -> str:
    return f"{FAMILY}.{allowance_id}"


def read_wish(wish: Any) -> tuple[float, str | None, dict[str, Any]]:
    """What an answer says of the future: ``{"seconds": 3600, "path_prefix": …, "equal": {…}}``.

    Raises:
        BadMessage: it says something else.
    """
    match wish:
        case {"seconds": int() | float() as seconds, **rest} if 0 < seconds <= LONGEST:
            prefix, equal = rest.get("path_prefix"), rest.get("equal", {})
            if isinstance(prefix, str | None) and isinstance(equal, dict):
                return float(seconds), prefix, equal
    raise BadMessage(
        f"'allow' takes 'seconds' (up to {LONGEST:g}), and if wanted 'path_prefix' and 'equal'.",
        field="allow",
    )


def _below(path: str, prefix: str) -> bool:
    folder = posixpath.normpath(prefix)
    return path == folder or path.startswith(folder.rstrip("/") + "/")
