"""What a handler may know besides its message: the past, the directory, the time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from backchannel.delivery.cursor import Cursor
from backchannel.domain.sidebar import Sidebar
from backchannel.errors import Forbidden, NotFound
from backchannel.jetstream.publish import Fence
from backchannel.protocol.identifier import MAIN
from backchannel.protocol.subject import Asked, life_of
from backchannel.service.house import House


@dataclass(slots=True)
class Context:
    """The surroundings of one command while it is decided.

    What ``past`` reads is fenced: the log takes the follow-ups only if nobody has changed it since.
    """

    asked: Asked
    access: frozenset[str]
    now: datetime
    house: House
    fences: list[Fence] = field(default_factory=list)

    async def past(self, sidebar_id: str) -> Sidebar | None:
        """The state of a sidebar as the log has it now; None if there is none."""
        sidebar = await self.house.past(self.asked.group, sidebar_id)
        fence = Fence(life_of(self.asked.group, sidebar_id), sidebar.sequence if sidebar else 0)
        self.fences.append(fence)
        return sidebar

    async def strangers(self, agents: Iterable[str]) -> list[str]:
        """Those of ``agents`` that the group's directory does not know."""
        return await self.house.strangers(self.asked.group, agents)

    async def log(self) -> tuple[str, str]:
        """The cursors of the log's beginning and of its head as of now."""
        facts = await self.house.log(self.asked.group)
        return str(Cursor(facts.epoch, 0)), str(Cursor(facts.epoch, facts.last))


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A query, who asks it, and what they may see.

    ``role`` is agent, human, service or operator; it comes from the platform, never from the asker.
    """

    group: str
    caller: str
    role: str
    access: frozenset[str]
    params: Mapping[str, Any]
    house: House

    async def readable(self, context_id: str) -> Sidebar | None:
        """The sidebar of that context, None for ``main``.

        Raises:
            Forbidden: the caller is not in it and has no access. A sidebar that does not exist is answered
                in the same words, so that nobody learns of what is not theirs.
        """
        if context_id == MAIN:
            return None
        sidebar = await self.house.past(self.group, context_id)
        if sidebar is not None and self._may_read(sidebar):
            return sidebar
        if self.role == "operator":
            raise NotFound(f"There is no sidebar {context_id}.", field="sidebar_id")
        raise Forbidden(
            f"There is no sidebar {context_id} that {self.caller} takes part in.", field="sidebar_id"
        )

    def _may_read(self, sidebar: Sidebar) -> bool:
        return self.role == "operator" or sidebar.has(self.caller) or sidebar.sidebar_id in self.access
