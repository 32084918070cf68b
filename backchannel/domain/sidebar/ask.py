"""A command to a sidebar, with all that is needed to decide it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import NAMESPACE_OID, uuid5

from backchannel.domain.sidebar.state import Sidebar
from backchannel.errors import Forbidden, NotFound
from backchannel.protocol.sidebar import SidebarCommand


@dataclass(frozen=True, slots=True)
class Ask:
    """A command and what the log says about the sidebars it touches.

    ``known`` maps every sidebar the command names, its parent and its open children to their state, None
    where there is none. ``start`` and ``head`` are cursors: the log's beginning, and now.
    """

    sender: str
    command: SidebarCommand
    now: datetime
    known: Mapping[str, Sidebar | None]
    start: str
    head: str
    access: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        return f"{self.sender}:{self.command.message_id}"

    def new_id(self, wanted: str | None) -> str:
        """The id of a sidebar this command makes: the wanted one, or one that a repetition finds again."""
        return wanted or "sb-" + uuid5(NAMESPACE_OID, self.key).hex[:12]

    def existing(self, sidebar_id: str, field_name: str = "sidebar_id") -> Sidebar:
        """
        Raises:
            NotFound: there is no such sidebar.
        """
        sidebar = self.known.get(sidebar_id)
        if sidebar is None:
            raise NotFound(f"There is no sidebar {sidebar_id}.", field=field_name)
        return sidebar

    def as_member(self, sidebar_id: str, field_name: str = "sidebar_id") -> Sidebar:
        """The sidebar, if the sender is in it.

        Raises:
            NotFound: there is no such sidebar.
            Forbidden: the sender is not a participant.
        """
        sidebar = self.existing(sidebar_id, field_name)
        if sidebar.has(self.sender):
            return sidebar
        raise Forbidden(
            f"{self.sender} is not a participant of the sidebar {sidebar_id}; ask one of them to invite you.",
            field=field_name,
        )
