"""What is known of one sidebar: the fold of its life so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backchannel.domain.sidebar.moves import TERMINAL
from backchannel.protocol.sidebar import ContextRange
from backchannel.protocol.sidebar_status import SidebarPriority, SidebarStatus

REMEMBERED = 128
"""How many recent causes a sidebar remembers, so that a command that comes again has no second effect.

Commands of one lane reach the handlers one at a time, so far fewer can be outstanding.
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a sidebar waits for; ``estimate`` in seconds, and ``until`` the moment at which it passes.

    ``dependencies`` are those that have not ended yet. ``cause`` tells this waiting from an earlier one.
    """

    waiting_for: str
    description: str
    estimate: float | None = None
    dependencies: tuple[str, ...] = ()
    cause: str = ""
    until: str | None = None
    overdue: bool = False


OTHER_SIDEBAR = "other_sidebar"


@dataclass(frozen=True, slots=True)
class Warned:
    """A sidebar has been idle: it becomes ``next_status`` at a moment, unless somebody does something.

    ``sequence`` is where in the log that was said.
    """

    next_status: SidebarStatus
    at: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Ending:
    """How a sidebar ended, in the words of whoever ended it."""

    status: SidebarStatus
    by: str | None = None
    reason: str | None = None
    findings: Any = None
    success: bool | None = None


@dataclass(frozen=True, slots=True)
class Sidebar:
    """One sidebar as of ``sequence`` in the group's log.

    ``members`` are its participants now, ``invited`` everyone who ever was one and may come back.
    ``inherited`` are stretches of other contexts, nearest ancestor first; what was said here is not among
    them. ``children`` maps each child to whether it is still open. ``waiters`` are sidebars that said they
    wait for this one, each with the agent who said so; some may have gone on. ``acted`` is the position of
    the last event that was not the platform's own. ``put_in`` are participants whom somebody else brought in
    and who have not changed anything since, each with who did; ``departures`` how often who has left.
    """

    sidebar_id: str
    parent_id: str
    status: SidebarStatus
    priority: SidebarPriority
    task: str
    created_by: str
    created_at: str
    sequence: int
    members: tuple[str, ...] = ()
    invited: tuple[str, ...] = ()
    coordinator: str | None = None
    success_criteria: str | None = None
    auto_merge: bool = False
    inherited: tuple[ContextRange, ...] = ()
    data_refs: tuple[str, ...] = ()
    cross_refs: tuple[str, ...] = ()
    forked_from: str | None = None
    children: tuple[tuple[str, bool], ...] = ()
    child_results: tuple[Any, ...] = ()
    waiting: Waiting | None = None
    waiters: tuple[tuple[str, str], ...] = ()
    warned: Warned | None = None
    acted: int = 0
    resume_condition: str | None = None
    tests: tuple[tuple[str, str], ...] = ()
    ending: Ending | None = None
    last_activity: str = ""
    applied: tuple[str, ...] = ()
    put_in: tuple[tuple[str, str], ...] = ()
    departures: tuple[tuple[str, int], ...] = ()

    @property
    def awaited_by(self) -> tuple[str, ...]:
        """The sidebars that said they wait for this one, each once."""
        return tuple(dict.fromkeys(name for name, _ in self.waiters))

    @property
    def open(self) -> bool:
        return self.status not in TERMINAL

    @property
    def open_children(self) -> tuple[str, ...]:
        return tuple(child for child, still_open in self.children if still_open)

    @property
    def waits_for(self) -> tuple[str, ...]:
        """The sidebars whose end it still waits for, also while it is paused."""
        if self.waiting is None or self.waiting.waiting_for != OTHER_SIDEBAR:
            return ()
        return self.waiting.dependencies

    def has(self, agent: str) -> bool:
        return agent in self.members
