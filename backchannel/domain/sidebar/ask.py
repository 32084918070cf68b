"""A command to a sidebar, with all that is needed to decide it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from backchannel.domain.invitation import Welcome
from backchannel.domain.matching import Candidate
from backchannel.domain.rights import Action, Asker, may, refused, unseen
from backchannel.domain.settings import USUAL, Settings
from backchannel.domain.sidebar.state import Sidebar
from backchannel.errors import BackchannelError, NotFound
from backchannel.protocol.identifier import OPERATOR, PLATFORM
from backchannel.protocol.sidebar import ContextRange, SidebarCommand

LONGEST_NAME = 51
"""Characters of a wanted id that are kept where it gets twelve digits and a hyphen more: 64 are allowed."""


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
    ``brought`` what a merge takes along (see `brings`), ``stays`` where in the log the sender of a fork was
    in the original, newest first, ``welcomes`` how those it brings in take that, ``raced`` whether the id it
    wants was given to another only a moment ago.
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
    stays: tuple[ContextRange, ...] = ()
    raced: bool = False
    welcomes: Mapping[str, Welcome] = field(default_factory=dict)
    settings: Settings = USUAL

    @property
    def key(self) -> str:
        return f"{self.sender}:{self.command.message_id}"

    def new_id(self, wanted: str | None) -> str:
        """The id of a sidebar this command makes: the wanted one, or one that a repetition finds again."""
        return wanted or f"sb-{self._own}"

    def another_id(self, wanted: str) -> str:
        """The id instead of a wanted one that somebody has of whom the sender is to learn nothing."""
        return f"{wanted[:LONGEST_NAME]}-{self._own}"

    @property
    def _own(self) -> str:
        """Twelve hexadecimal digits that go with this command."""
        return uuid5(NAMESPACE_OID, self.key).hex[:12]

    def existing(self, sidebar_id: str) -> Sidebar:
        """A sidebar that another one leads to, whatever the sender may do with it.

        Raises:
            NotFound: there is no such sidebar.
        """
        sidebar = self.known.get(sidebar_id)
        if sidebar is None:
            raise NotFound(f"There is no sidebar {sidebar_id}.", field="sidebar_id")
        return sidebar

    @property
    def asker(self) -> Asker:
        return Asker(self.sender, self.kind, self.access, self.charges)

    def require(self, action: Action, sidebar_id: str, field_name: str = "sidebar_id") -> Sidebar:
        """The sidebar, if the table of rights lets the sender do this with it.

        Raises:
            Forbidden: the sender may not; or may not even look, or there is none, in the same words.
            NotFound: there is none, and the sender sees all there are.
        """
        sidebar = self.known.get(sidebar_id)
        if sidebar is None or not self.may(Action.LOOK, sidebar):
            raise unseen(self.asker, sidebar_id, field_name)
        if self.may(action, sidebar):
            return sidebar
        raise refused(self.asker, action, sidebar, field_name)

    def require_welcome(self, agents: Iterable[str], field_name: str) -> None:
        """
        Raises:
            Forbidden: one of them lets the sender bring it in nowhere.
            RateLimited: the sender has brought it into many sidebars already.
        """
        for agent in agents:
            if refusal := self._unwelcome(agent, field_name):
                raise refusal

    def willing(self, named: Collection[str]) -> list[Candidate]:
        """The candidates, but for those who are not named and let the sender bring them in nowhere."""
        return [
            found
            for found in self.candidates
            if found.agent_id in named or self._unwelcome(found.agent_id, "specialties") is None
        ]

    def _unwelcome(self, agent: str, field_name: str) -> BackchannelError | None:
        if agent == self.sender or self.sender in (OPERATOR, PLATFORM):
            return None
        welcome = self.welcomes.get(agent, Welcome())
        return welcome.why_not(agent, self.sender, self.settings.sidebar.max_put_in, field_name)

    def may(self, action: Action, sidebar: Sidebar) -> bool:
        return may(action, self.asker, sidebar, self.known.get(sidebar.parent_id))
