"""Offline: when the collaborators of an agent are told that it has gone, and who they are."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from backchannel.domain.decision import Timer
from backchannel.domain.sidebar import Sidebar

SERVICE, GONE = "offline", "gone"
CHECKED = timedelta(minutes=5)
"""How often a connected agent is looked for, should nobody have seen its last lease lapse."""

MOST_TOLD = 500
"""Collaborators that are told one by one; beyond, everybody in the group is told once."""


def look(agent: str, as_of: datetime, at: datetime) -> Timer:
    """Look for the agent at `at`; `as_of` is when it was last known to be there, or to have gone."""
    return Timer(SERVICE, GONE, agent, at, {"as_of": as_of.isoformat()})


def is_news(as_of: datetime, told: datetime | None) -> bool:
    """Whether a departure has not been told yet. Both times are the log's, so that they can be compared."""
    return told is None or told < as_of


def collaborators(agent: str, sidebars: Iterable[Sidebar]) -> list[str]:
    """Everybody who is with the agent in an open sidebar, each once."""
    together = [sidebar for sidebar in sidebars if sidebar.open and agent in sidebar.members]
    return sorted({member for sidebar in together for member in sidebar.members} - {agent})
