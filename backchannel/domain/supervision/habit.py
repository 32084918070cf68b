"""Habits: what an agent usually does, so that what is out of the ordinary shows."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from backchannel.domain.decision import Mark
from backchannel.domain.supervision.request import Request

ENOUGH = 5
"""Calls before anything counts as unusual."""

MANY, WITHIN = 20, 60.0
"""So many calls in so many seconds are a burst."""

MOST = 64
"""Tools, folders and hours that are remembered; the longest unused goes."""

KEPT = 90 * 86_400


@dataclass(frozen=True, slots=True)
class Habit:
    """How often an agent used which tool, in which folders, at which hours (UTC), and when last."""

    calls: int = 0
    tools: dict[str, int] = field(default_factory=dict)
    folders: dict[str, int] = field(default_factory=dict)
    hours: dict[str, int] = field(default_factory=dict)
    recent: list[float] = field(default_factory=list)
    agent: str = ""

    @classmethod
    def read(cls, content: Mapping[str, Any] | None, agent: str) -> Habit:
        return cls(**content) if content else cls(agent=agent)

    def unusual(self, tool: str, paths: Sequence[str], now: datetime) -> list[str]:
        """What about a call is not like those before."""
        if self.calls < ENOUGH:
            return []
        found = []
        if tool not in self.tools:
            found.append(f"it never used {tool} before")
        if new := sorted({_folder(path) for path in paths} - set(self.folders)):
            found.append(f"it never touched {', '.join(new[:3])} before")
        if _hour(now) not in self.hours and self.calls >= 4 * ENOUGH:
            found.append(f"it was never active at {_hour(now)} o'clock (UTC) before")
        burst = [moment for moment in self.recent if moment > now.timestamp() - WITHIN]
        if len(burst) >= MANY:
            found.append(f"it made {len(burst)} calls within {WITHIN:g} seconds")
        return found

    def after(self, tool: str, request: Request, now: datetime) -> Mark:
        """With this call in it."""
        paths = [str(path) for path in _paths(request)]
        changed = Habit(
            calls=self.calls + 1,
            tools=_counted(self.tools, [tool]),
            folders=_counted(self.folders, [_folder(path) for path in paths]),
            hours=_counted(self.hours, [_hour(now)]),
            recent=[*self.recent, now.timestamp()][-MANY:],
            agent=self.agent or request.agent,
        )
        return Mark(place_of(request.agent), asdict(changed), KEPT)


def place_of(agent: str) -> str:
    return f"habit.{agent}"


def _paths(request: Request) -> list[str]:
    return list(request.risk.get("paths", ()))


def _counted(known: Mapping[str, int], names: Sequence[str]) -> dict[str, int]:
    """Counted, the one used last at the end; the longest unused leaves when there are too many."""
    counts = dict(known)
    for name in names:
        counts[name] = counts.pop(name, 0) + 1
    return dict(list(counts.items())[-MOST:])


def _folder(path: str) -> str:
    return posixpath.dirname(path) or "."


def _hour(now: datetime) -> str:
    return f"{now.hour:02}"
