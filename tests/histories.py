"""Random things that agents ask of sidebars: drawn as plain steps, made into messages by a builder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from backchannel.protocol.catalog import AnyMessage
from backchannel.protocol.sidebar_status import SidebarStatus
from tests.build import message

AGENTS = ("ada", "bob", "carol", "eve")
CHANGES = (
    "sidebar_pause",
    "sidebar_resume",
    "sidebar_join",
    "sidebar_leave",
    "sidebar_test_result",
    "sidebar_waiting_update",
)
ACTIONS = ("spawn", "child", "fork", "change", "move", "invite", "merge", "archive")


@dataclass(frozen=True, slots=True)
class Step:
    """Who asks what. `target` and `other` pick among the sidebars there are, `choice` among variants."""

    sender: str
    action: str
    target: int
    choice: int
    others: tuple[str, ...]

    def message(self, sidebars: Sequence[str], fresh: str) -> AnyMessage:
        """The command; `fresh` is the id of the sidebar it opens, if it opens one."""
        target = sidebars[self.target % len(sidebars)] if sidebars else "nowhere"
        others = list(self.others)
        match self.action:
            case "spawn":
                return message(
                    "sidebar_spawn", sidebar_id=fresh, participants=others, parent_id=self._parent(sidebars)
                )
            case "child":
                return message(
                    "sidebar_child_spawn",
                    parent_sidebar_id=target,
                    child_sidebar_id=fresh,
                    assigned_agents=others,
                )
            case "fork":
                return message("sidebar_fork", original_sidebar_id=target, new_sidebar_id=fresh)
            case "change":
                return message(CHANGES[self.choice % len(CHANGES)], sidebar_id=target)
            case "move":
                statuses = list(SidebarStatus)
                wanted = statuses[self.choice % len(statuses)].value
                return message("sidebar_status_update", sidebar_id=target, new_status=wanted)
            case "invite":
                return message("sidebar_invite", sidebar_id=target, agents=others or ["bob"])
            case "merge":
                return message("sidebar_merge", sidebar_id=target, **self._ending())
        return message("sidebar_archive", sidebar_id=target)

    @property
    def opens(self) -> bool:
        return self.action in ("spawn", "child", "fork")

    def _parent(self, sidebars: Sequence[str]) -> str:
        place = self.choice % (len(sidebars) + 1)
        return sidebars[place] if place < len(sidebars) else "main"

    def _ending(self) -> dict[str, Any]:
        how = ("refuse", "merge", "archive")[self.choice % 3]
        return {"open_children": how, "consolidated_findings": {"found": self.choice}, "success": True}


steps: st.SearchStrategy[Step] = st.builds(
    Step,
    sender=st.sampled_from(AGENTS),
    action=st.sampled_from(ACTIONS),
    target=st.integers(0, 11),
    choice=st.integers(0, 59),
    others=st.lists(st.sampled_from(AGENTS), max_size=3).map(tuple),
)
