"""A command to a sidebar, with all that is needed to decide it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from backchannel.domain.matching import Candidate
from backchannel.domain.rights import Action, Asker, may, refused
from backchannel.domain.settings import USUAL, Settings
from backchannel.domain.sidebar.state import Sidebar
from backchannel.errors import NotFound
from backchannel.protocol.sidebar import SidebarCommand


@dataclass(frozen=True, slots=True)
class Brought:
    """What of a sidebar's content goes to its parent: what it refers to, and the exchanges asked for."""

    data_refs: tuple[str, ...] = ()
    exchanges: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """A command and what the log says about the sidebars it touches.

    ``known`` maps every sidebar the command names, its parent and its open children to their state, None
    where there is none. ``start`` and ``head`` are cursors: the log's beginning, and now. ``access``,
    ``kind`` and ``charges`` are those of `Asker`, ``candidates`` everybody a specialty may be found with,
    ``brought`` what a merge takes along (see `brings`).
    """

    sender: str
    command: SidebarCommand
    now: datetime
    known: Mapping[str, Sidebar | None]
    start: str
    head: str
    access: frozenset[str] = frozenset()
    kind: str = "agent"
    charges: frozenset[str] = frozenset()
    candidates: tuple[Candidate, ...] = ()
    brought: Brought = Brought()
    settings: Settings = USUAL

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

    @property
    def asker(self) -> Asker:
        return Asker(self.sender, self.kind, self.access, self.charges)

    def require(self, action: Action, sidebar_id: str, field_name: str = "sidebar_id") -> Sidebar:
        """The sidebar, if the table of rights lets the sender do this with it.

        Raises:
            NotFound: there is no such sidebar.
            Forbidden: the sender may not.
        """
        sidebar = self.existing(sidebar_id, field_name)
        if self.may(action, sidebar):
            return sidebar
        raise refused(self.asker, action, sidebar, field_name)

    def may(self, action: Action, sidebar: Sidebar) -> bool:
        return may(action, self.asker, sidebar, self.known.get(sidebar.parent_id))
