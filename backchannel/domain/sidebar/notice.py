"""What is told in the life of a sidebar because of somebody who need not be in it.

It is in the platform's own words and as small as can be: whoever causes it does not speak here. It neither
moves the sidebar nor counts as something that was done in it, and it overtakes nothing.
"""

from __future__ import annotations

from backchannel.domain.decision import Outgoing
from backchannel.domain.sidebar.ask import Ask
from backchannel.domain.sidebar.state import OTHER_SIDEBAR, Sidebar
from backchannel.protocol.identifier import PLATFORM
from backchannel.protocol.lane import Lane
from backchannel.protocol.sidebar import SidebarFork, SidebarWaitingUpdate
from backchannel.protocol.subject import InContext


def forked(ask: Ask, original: Sidebar, fork_id: str) -> Outgoing:
    """That somebody who is not in the original has forked it."""
    told = SidebarFork(
        message_id=ask.command.message_id,
        timestamp=ask.now,
        sender_agent_id=ask.sender,
        causation_id=str(ask.command.message_id),
        original_sidebar_id=original.sidebar_id,
        new_sidebar_id=fork_id,
        fork_reason=f"{ask.sender}, who is not in this sidebar, has forked it.",
        by=PLATFORM,
    )
    return Outgoing(InContext(original.sidebar_id, "life"), _quiet(original), told)


def waited_for(ask: Ask, other: Sidebar, waiting_id: str) -> Outgoing:
    """That another sidebar waits for this one, by the word of the sender."""
    told = SidebarWaitingUpdate(
        message_id=ask.command.message_id,
        timestamp=ask.now,
        sender_agent_id=ask.sender,
        causation_id=str(ask.command.message_id),
        sidebar_id=waiting_id,
        waiting_for=OTHER_SIDEBAR,
        description=f"{waiting_id} waits for this sidebar, as {ask.sender} says.",
        dependency_refs=[other.sidebar_id],
        by=PLATFORM,
    )
    return Outgoing(InContext(other.sidebar_id, "life"), _quiet(other), told)


def _quiet(sidebar: Sidebar) -> Lane:
    """The lane of the sidebar, but none above the normal one."""
    return max(Lane.NORMAL, Lane(sidebar.priority.value), key=lambda lane: lane.rank)
