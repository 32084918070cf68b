"""The curator: which critical updates an agent has not acknowledged in time, and who is told."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from backchannel.protocol.identifier import MAIN
from backchannel.protocol.message import rfc3339

CURATOR = "curator"
ACK = "ack"
ESCALATE = "escalate"
REST = "rest"
MOST_LISTED = 100
"""Updates that one check-in names; the next one names those after them."""


@dataclass(frozen=True, slots=True)
class Received:
    """What an agent's connections have acknowledged: each purpose up to a position, and single messages."""

    positions: Mapping[str, int] = field(default_factory=dict)
    named: frozenset[str] = frozenset()
    since: int | None = None
    """The position of its first connection; None if it never had one."""

    @property
    def position(self) -> int:
        """How far the agent itself is; who only watches in its name does not count."""
        return max((at for purpose, at in self.positions.items() if purpose != "observer"), default=0)

    def has(self, sequence: int, message_id: str) -> bool:
        return sequence <= self.position or message_id in self.named


@dataclass(frozen=True, slots=True)
class Update:
    """A critical update for an agent, where it lies and since when. ``context_id`` None: for it in person."""

    message_id: str
    type: str
    sender: str | None
    sequence: int
    stored: datetime
    context_id: str | None = None

    def told(self, cursor: str) -> dict[str, Any]:
        """As a check-in names it. What it says stays where it is."""
        return {
            "message_id": self.message_id,
            "type": self.type,
            "from": self.sender,
            "context_id": self.context_id,
            "cursor": cursor,
            "since": rfc3339(self.stored),
        }


@dataclass(frozen=True, slots=True)
class Look:
    """What is to be done now about what is open: ask for ``late``, and look again at ``at``."""

    late: tuple[Update, ...]
    at: datetime | None


def look(open_: Sequence[Update], now: datetime, timeout: float) -> Look:
    """``open_`` in the order of the log."""
    late = [update for update in open_ if update.stored + timedelta(seconds=timeout) <= now]
    listed = late[:MOST_LISTED]
    rest = [update for update in open_ if update not in listed]
    if not rest:
        return Look(tuple(listed), None)
    return Look(tuple(listed), max(now, rest[0].stored + timedelta(seconds=timeout)))


def still_open(
    updates: Iterable[Update], agent: str, received: Received, answered: Collection[str]
) -> list[Update]:
    """What ``agent`` neither sent nor acknowledged nor said anything about; ``answered`` are message ids."""
    return [
        update
        for update in updates
        if update.sender != agent
        and not received.has(update.sequence, update.message_id)
        and update.message_id not in answered
    ]


def to_tell(
    missing: Sequence[Mapping[str, Any]],
    agent: str,
    supervisor: str | None,
    coordinators: Mapping[str, str | None],
) -> dict[str, list[Mapping[str, Any]]]:
    """Who is told of what: the supervisor of all, a sidebar's coordinator of what belongs there."""
    told: dict[str, list[Mapping[str, Any]]] = {}
    if supervisor is not None and supervisor != agent:
        told[supervisor] = list(missing)
    for one in missing:
        coordinator = coordinators.get(str(one.get("context_id") or MAIN))
        if coordinator is not None and coordinator not in (agent, supervisor):
            told.setdefault(coordinator, []).append(one)
    return told


def question(count: int) -> str:
    what = "One critical update is" if count == 1 else f"{count} critical updates are"
    return f"{what} not acknowledged. Say `ack` or `handled`, or somebody else is asked to look."


def report(agent: str, count: int) -> str:
    what = "one critical update" if count == 1 else f"{count} critical updates"
    return f"{agent} has not acknowledged {what}, and did not answer when it was asked."
