"""Allowances: a human's word that calls of one kind may go on for a while without being asked for."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

from backchannel.domain.audit import Deed
from backchannel.domain.canonical import canonical
from backchannel.domain.decision import Decision, Mark
from backchannel.domain.inforce import InForce
from backchannel.domain.supervision.accounted import accounts_for, is_plain_path, same
from backchannel.domain.supervision.meanwhile import why_not_to_decide
from backchannel.domain.supervision.risk import Risk
from backchannel.errors import BadMessage, Forbidden, NotFound
from backchannel.protocol.identifier import OPERATOR
from backchannel.protocol.message import rfc3339
from backchannel.protocol.supervision import AllowanceRevoke

FAMILY = "allowance"
LONGEST = 86_400.0
"""Seconds; who wants more changes the token."""

LARGEST = 65_536
"""Bytes of the parameters of a call by which calls like it may be allowed."""

MAY_SAY = {"seconds", "path_prefix", "equal"}


@dataclass(frozen=True, slots=True)
class Allowance:
    """`agent` may use `tool` until `until` (seconds since 1970); what is riskier than the call it was made
    for is asked for again.

    With `path_prefix` or `equal`, everything in a call must be accounted for: it is as in `seen`, the call
    that the human saw, or has the value that `equal` names, or is a path below `path_prefix`. With neither,
    the human said that the tool may be used whatever for; then a call must at least be understood.

    Args:
        made_at: seconds since 1970; it does not outlive what is taken from `by` after that.
    """

    allowance_id: str
    agent: str
    tool: str
    by: str
    until: float
    most_rank: int
    path_prefix: str | None = None
    equal: dict[str, Any] = field(default_factory=dict)
    conditions: list[dict[str, Any]] = field(default_factory=list)
    seen: dict[str, Any] | None = None
    made_at: float = 0.0

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Allowance:
        """What a later version added is left out."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in content.items() if name in known})

    @property
    def until_text(self) -> str:
        return rfc3339(datetime.fromtimestamp(self.until, UTC))

    def mark(self, now: datetime) -> Mark:
        """It lapses by itself."""
        return Mark(place_of(self.allowance_id), asdict(self), max(1, int(self.until - now.timestamp())))

    def covers(self, agent: str, tool: str, params: Mapping[str, Any], risk: Risk, now: datetime) -> bool:
        if (agent, tool) != (self.agent, self.tool) or now.timestamp() >= self.until:
            return False
        if risk.rank > self.most_rank:
            return False
        if self.path_prefix is None and not self.equal:
            return risk.understood or same(params, self.seen)
        return self.seen is not None and accounts_for(params, self.seen, self.path_prefix, self.equal)

    def shown(self) -> dict[str, Any]:
        """As whoever made it, and whom it is for, see it."""
        told = {"allowance_id": self.allowance_id, "agent": self.agent, "tool": self.tool, "by": self.by}
        return told | {"until": self.until_text, "path_prefix": self.path_prefix, "equal": self.equal}

    def facts(self) -> dict[str, Any]:
        """As the trail keeps it: what was seen is there already, with the request."""
        known = asdict(self)
        return {name: known[name] for name in known if name != "seen"}


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


def why_void(made: Allowance, ladder: Collection[str], inforce: InForce | None) -> str | None:
    """Why an allowance is not good any more before its time; None if it is.

    Args:
        ladder: the humans who decide about this agent now.
        inforce: what is in force for whoever made it.
    """
    if made.by == OPERATOR:
        return None
    if made.by not in ladder:
        return f"{made.by} does not decide about {made.agent} any more"
    return why_not_to_decide(made.by, inforce, made.made_at)


def with_allowance(decided: Decision, made: Allowance, group: str, now: datetime) -> Decision:
    """The same decision, by which calls of this kind go on for a while; that is on record before it holds."""
    told = {"allowance_id": made.allowance_id, "until": made.until_text}
    facts = made.facts() | told
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
    facts = known.facts() | {"revoked_by": by, "reason": said.reason}
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


def seen_in(params: Mapping[str, Any], prefix: str | None, equal: Mapping[str, Any]) -> dict[str, Any] | None:
    """What calls are compared with. Raises BadMessage if that is too large to be kept beside an allowance."""
    if len(canonical([params, equal])) <= LARGEST:
        return dict(params)
    if prefix is None and not equal:
        return None
    raise BadMessage(
        f"Calls like one of more than {LARGEST} bytes cannot be allowed beforehand; leave 'allow' out.",
        field="allow",
    )


def read_wish(wish: Any) -> tuple[float, str | None, dict[str, Any]]:
    """What an answer says of the future: ``{"seconds": 3600, "path_prefix": …, "equal": {…}}``.

    Raises:
        BadMessage: it says something else.
    """
    match wish:
        case {"seconds": int() | float() as seconds, **rest} if (
            0 < seconds <= LONGEST and rest.keys() <= MAY_SAY
        ):
            prefix, equal = rest.get("path_prefix"), rest.get("equal") or {}
            if isinstance(prefix, str | None) and isinstance(equal, dict):
                _require_folder(prefix)
                return float(seconds), prefix, equal
    raise BadMessage(
        f"'allow' takes 'seconds' (up to {LONGEST:g}), and if wanted 'path_prefix' and 'equal'.",
        field="allow",
    )


def _require_folder(prefix: str | None) -> None:
    """Raises BadMessage: below a folder that is not plain itself, nothing could be told apart."""
    if prefix is not None and (not is_plain_path(prefix) or posixpath.normpath(prefix) == "."):
        raise BadMessage(
            "'path_prefix' takes a plain folder, as /srv/out: no '..', no wildcard, nothing encoded.",
            field="allow",
        )
