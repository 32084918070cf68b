"""One request for a tool, as it stands: what is wanted, who was asked, what was decided and by whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal

from backchannel.domain.decision import Mark
from backchannel.protocol.message import rfc3339

State = Literal["pending", "rescheduled", "approved", "denied"]
KEPT, KEPT_OPEN = 7 * 86_400, 400 * 86_400
"""Seconds for which a request stays known after its last change; one that waits, longer than it may wait."""

FAMILY = "approval"
"""Marks of requests stand below this name."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the log knows of a request. `ladder` is everybody who may be asked, `asked` those who were.

    Args:
        digest: of exactly this action; a grant is bound to it.
        run: where the run of calls is marked that it belongs to; None if it belongs to none.
        policy: the version of the risk rules under which it was judged.
        until: seconds since 1970 at which waiting ends, or at which a rescheduled one is asked again.
        decided_by: a human's name, ``operator``, or None for the policy itself.
    """

    request_id: str
    group: str
    agent: str
    tool: str
    params: dict[str, Any]
    digest: str
    policy: str
    level: str
    risk: dict[str, Any]
    reasons: list[str]
    state: State
    asked_at: str
    ladder: list[str]
    asked: list[str]
    agent_reasoning: str | None = None
    chain: str | None = None
    alternatives: list[Any] | None = None
    until: float | None = None
    decided_by: str | None = None
    decided_at: str | None = None
    reason: str | None = None
    conditions: list[dict[str, Any]] | None = None
    grant_id: str | None = None
    leader: str | None = None
    run: str | None = None

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Request:
        """What a later version added is left out."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in content.items() if name in known})

    @property
    def open(self) -> bool:
        """Whether it still waits for somebody."""
        return self.state in ("pending", "rescheduled")

    def answered_after(self, moment: float) -> bool:
        """Whether somebody has answered since (seconds since 1970), if only that it be asked again."""
        answered = self.decided_at
        return answered is not None and datetime.fromisoformat(answered).timestamp() >= moment

    def mark(self) -> Mark:
        return Mark(place_of(self.request_id), asdict(self), KEPT_OPEN if self.open else KEPT)

    def marks(self) -> tuple[Mark, Mark]:
        """The request itself, and whether its agent waits for an answer."""
        waits = {"request_id": self.request_id} if self.open else {}
        return (
            self.mark(),
            Mark(f"{waiting_of(self.agent)}.{self.request_id}", waits, KEPT_OPEN if self.open else 1),
        )

    def shown(self) -> dict[str, Any]:
        """As a list of approvals shows it."""
        hidden = {"ladder", "digest", "group", "run"}
        until = None if self.until is None else rfc3339(datetime.fromtimestamp(self.until, UTC))
        return {name: value for name, value in asdict(self).items() if name not in hidden} | {"until": until}


def place_of(request_id: str) -> str:
    """The name under which a request is marked; no two deciders may change it at once."""
    return f"{FAMILY}.{request_id}"


def waiting_of(agent: str) -> str:
    """The name below which the open requests of an agent are marked."""
    return f"waiting.{agent}"
