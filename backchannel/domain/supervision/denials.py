"""Denials: the first ones of an agent stand in the trail one by one, the others as a count.

Whoever is refused does nothing, so no record of its own is owed; a trail that nobody may shorten is not to be
filled by somebody who only has to ask. What is allowed always has its record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from backchannel.domain.audit import Deed
from backchannel.domain.decision import Decision, Mark, Timer
from backchannel.domain.supervision.request import Request
from backchannel.protocol.message import rfc3339

DENIALS = "denials"
IN_FULL, WITHIN = 20, 300.0
"""So many denials of one agent in so many seconds stand in the trail one by one."""
LARGEST = 2_048
"""Bytes of what a denied request said that are kept."""
MOST_TOOLS = 16


@dataclass(frozen=True, slots=True)
class Denials:
    """The denials of an agent since a moment (seconds since 1970), and how many of them are only counted."""

    agent: str
    since: float
    count: int = 0
    gathered: int = 0
    tools: dict[str, int] = field(default_factory=dict)
    reason: str | None = None

    @classmethod
    def read(cls, content: Mapping[str, Any] | None) -> Denials | None:
        return cls(**content) if content else None

    @property
    def over_at(self) -> float:
        return self.since + WITHIN

    def mark(self) -> Mark:
        return Mark(place_of(self.agent), asdict(self), 2 * int(WITHIN))

    def with_one_more(self, request: Request) -> Denials:
        if self.count < IN_FULL:
            return Denials(self.agent, self.since, self.count + 1)
        tool = request.tool if request.tool in self.tools or len(self.tools) < MOST_TOOLS else "others"
        tools = {**self.tools, tool: self.tools.get(tool, 0) + 1}
        return Denials(self.agent, self.since, self.count + 1, self.gathered + 1, tools, request.reason)

    def deed(self, group: str) -> Deed:
        """What stands in the trail for all that were counted."""
        facts = {
            "count": self.gathered,
            "tools": self.tools,
            "since": rfc3339(datetime.fromtimestamp(self.since, UTC)),
            "until": rfc3339(datetime.fromtimestamp(self.over_at, UTC)),
            "last_reason": self.reason,
        }
        return Deed(group, "tool", self.agent, "denials_gathered", facts)


def place_of(agent: str) -> str:
    return f"{DENIALS}.{agent}"


def on_record(
    decided: Decision, request: Request, known: Denials | None, service: str, now: datetime
) -> Decision:
    """A denial with its records, or counted if there were many; a count whose time is over goes along."""
    over = known is not None and now.timestamp() >= known.over_at
    before = known if known is not None and not over else Denials(request.agent, now.timestamp())
    counted = before.with_one_more(request)
    deeds = () if counted.gathered else decided.deeds
    if over and known is not None and known.gathered:
        deeds = (*deeds, known.deed(request.group))
    timers = decided.timers
    if counted.gathered == 1:
        end = datetime.fromtimestamp(counted.over_at, UTC)
        timers = (*timers, Timer(service, DENIALS, request.agent, end))
    return replace(decided, timers=timers, marks=(*decided.marks, counted.mark()), deeds=deeds)


def at_the_end(known: Denials | None, group: str, now: datetime) -> Decision:
    """The time is over: what was counted goes on record."""
    if known is None or not known.gathered or now.timestamp() < known.over_at - 1:
        return Decision()
    return Decision(deeds=(known.deed(group),), marks=(Mark(place_of(known.agent), {}, 1),))
