"""Runs: the calls that belong together, so that a chain of tools cannot go on without end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backchannel.domain.canonical import digest
from backchannel.domain.decision import Mark
from backchannel.domain.supervision.request import Request
from backchannel.protocol.supervision import ToolRequest

KEPT = 86_400
WITHIN = 3600.0
"""Seconds within which calls of a chain are one run if nothing says which run they belong to, and within
which the beginnings of runs are counted."""

MOST = 1000
"""Calls of a run that are told apart; no token allows longer chains."""


@dataclass(frozen=True, slots=True)
class Run:
    """When the calls of a run were asked for (seconds since 1970), those that count still.

    `named`: something says which run it is. Then all of them count; else those of the last hour.
    """

    place: str
    named: bool
    times: tuple[float, ...] = ()

    @classmethod
    def read(cls, place: str, named: bool, content: Mapping[str, Any] | None, now: datetime) -> Run:
        since = float("-inf") if named else now.timestamp() - WITHIN
        times = tuple(float(at) for at in (content or {}).get("times", ()) if float(at) > since)
        return cls(place, named, times)

    def led_by(self, cause: Request | None) -> Run:
        """The cause itself is the first call of a run that nothing else has named."""
        if self.times or cause is None or cause.run is not None:
            return self
        return Run(self.place, self.named, (datetime.fromisoformat(cause.asked_at).timestamp(),))

    def with_one_more(self, now: datetime) -> Mark:
        times = (*self.times, now.timestamp())[-MOST:]
        return Mark(self.place, {"times": list(times)}, KEPT if self.named else int(WITHIN))


def place_of(agent: str, request: ToolRequest, cause: Request | None = None) -> str | None:
    """The name under which a run is marked; None for a call that is part of none.

    Args:
        cause: the agent's own call that this one follows from. It decides, whatever the call says of itself.
    """
    if cause is not None:
        return cause.run or f"chain.{digest([agent, 'cause', cause.request_id])[:32]}"
    if (run := request.trace_id or request.chain_id) is not None:
        return f"chain.{digest([agent, run])[:32]}"
    if request.chain is not None:
        return f"chain.{digest([agent, 'unnamed', request.chain])[:32]}"
    return None


def beginnings_of(agent: str, request: ToolRequest) -> str | None:
    """Where it is marked how often runs of a chain begin; None for a call that names no chain.

    An agent chooses the ids of its runs, so a new id for every call must not be a way around their length.
    """
    if request.chain is None and request.chain_id is None:
        return None
    return f"chain.{digest([agent, 'begun', request.chain])[:32]}"


def loose_of(agent: str, request: ToolRequest) -> str | None:
    """Where calls are counted that name no chain and continue no run; None for a call that names a chain.

    What an agent does not say, and a trace that is new with every call, must not be a way around the length.
    """
    return f"chain.{digest([agent, 'loose'])[:32]}" if request.chain is None else None
