"""What a handler may know besides its message: the past, the directory, the time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from backchannel.delivery.cursor import Cursor
from backchannel.domain.idle import Activity
from backchannel.domain.invitation import Welcome, wanted_by
from backchannel.domain.matching import Candidate
from backchannel.domain.rights import Action, Asker, may, unseen
from backchannel.domain.sidebar import Sidebar
from backchannel.jetstream.publish import Fence
from backchannel.jetstream.read import Record, following, last, read_one
from backchannel.protocol.claims import Claims
from backchannel.protocol.identifier import MAIN
from backchannel.protocol.json_object import read_object
from backchannel.protocol.subject import (
    Asked,
    content_of,
    events_stream,
    life_of,
    order_subject,
    said_in,
    timer_subject,
)
from backchannel.service.house import House

MOST_MARKS = 256


@dataclass(slots=True)
class Context:
    """The surroundings of one command while it is decided.

    What ``past`` reads is fenced: the log takes the follow-ups only if nobody has changed it since.
    """

    asked: Asked
    access: frozenset[str]
    now: datetime
    house: House
    kind: str = "agent"
    fences: list[Fence] = field(default_factory=list)
    held: Mapping[str, Any] = field(default_factory=dict)

    def claims(self) -> Claims:
        """What the door said of the sender's token: who it is, whose, and what it may do with tools."""
        agent, group = self.asked.agent, self.asked.group
        known = {"sub": agent, "entity_id": agent, "collaboration_group": group, "iat": 0, "exp": 0}
        fields = {name: value for name, value in self.held.items() if name in Claims.model_fields}
        return Claims.model_validate({**fields, **known, "jti": "of a command"})

    async def past(self, sidebar_id: str) -> Sidebar | None:
        """The state of a sidebar as the log has it now; None if there is none."""
        group = self.asked.group
        sidebar = await self.house.past(group, sidebar_id)
        if not any(fence.subject == content_of(group, sidebar_id) for fence in self.fences):
            self.fences.append(Fence(life_of(group, sidebar_id), sidebar.sequence if sidebar else 0))
        return sidebar

    async def beginning(self, sidebar_id: str) -> datetime | None:
        """When the log got the first event of a sidebar that it has."""
        group = self.asked.group
        found = await following(self.house.connection, events_stream(group), life_of(group, sidebar_id), 0, 1)
        return datetime.fromisoformat(found[0].time) if found else None

    async def silence(self, sidebar_id: str) -> tuple[Sidebar | None, Activity]:
        """A sidebar, and the last that anybody did in it. Fences all that lies in it, not only its life."""
        group = self.asked.group
        newest = await self._last(content_of(group, sidebar_id))
        self.fences.append(Fence(content_of(group, sidebar_id), newest.sequence if newest else 0))
        sidebar = await self.past(sidebar_id)
        said = [await self._last(contents) for contents in said_in(group, sidebar_id)]
        acted = sidebar.acted if sidebar else 0
        latest = max([found.sequence for found in said if found], default=0)
        record = await read_one(self.house.connection, events_stream(group), max(acted, latest))
        moment = datetime.fromisoformat(record.time) if record else self.now
        return sidebar, Activity(max(acted, latest), moment)

    async def in_order(self, what: str) -> Record | None:
        """Whoever decides this meanwhile must be seen: for decisions that leave a mark under that name.

        Returns the mark that lies there.
        """
        return await self._fenced(order_subject(self.asked.group, what))

    async def marked(self, what: str) -> Mapping[str, Any] | None:
        """What the newest mark of that name says; nobody may have changed it when the decision is stored."""
        newest = await self._fenced(order_subject(self.asked.group, what))
        return read_object(newest.payload) if newest is not None and newest.payload else None

    async def marks(self, what: str) -> dict[str, Mapping[str, Any]]:
        """What the marks that a filter finds say, each by the last part of its name; fenced together."""
        subject = order_subject(self.asked.group, what)
        stream = events_stream(self.asked.group)
        found = await following(self.house.connection, stream, subject, 0, MOST_MARKS)
        self.fences.append(Fence(subject, found[-1].sequence if found else 0))
        return {record.subject.rpartition(".")[2]: read_object(record.payload) for record in found}

    async def runs(self, service: str, name: str, key: str) -> bool:
        """Whether this timer runs, fenced."""
        newest = await self._fenced(timer_subject(self.asked.group, service, name, key))
        return newest is not None and bool(newest.payload)

    async def _fenced(self, subject: str) -> Record | None:
        newest = await self._last(subject)
        self.fences.append(Fence(subject, newest.sequence if newest else 0))
        return newest

    async def _last(self, subject: str) -> Record | None:
        return await last(self.house.connection, events_stream(self.asked.group), subject)

    async def asker(self) -> Asker:
        """Who asks, with everything a right may depend on."""
        return await _asker(self.house, self.asked.group, self.asked.agent, self.kind, self.access)

    async def candidates(self) -> tuple[Candidate, ...]:
        """Everybody the group's directory knows, and how busy each is as of now."""
        await self.house.lives[self.asked.group].reach()
        return tuple(Candidate.of(entry) for entry in await self.house.roster(self.asked.group))

    async def strangers(self, agents: Iterable[str]) -> list[str]:
        """Those of ``agents`` that the group's directory does not know."""
        return [agent for agent, entry in (await self.entries(agents)).items() if entry is None]

    async def entries(self, agents: Iterable[str]) -> dict[str, Mapping[str, Any] | None]:
        """What the group's directory says of each of ``agents``; None of one that it does not know."""
        return await self.house.entries(self.asked.group, agents)

    async def welcomes(self, entries: Mapping[str, Mapping[str, Any]], asker: Asker) -> dict[str, Welcome]:
        """How each takes it to be brought into a sidebar by the asker, by its entry in the directory."""
        lives = self.house.lives[self.asked.group]
        await lives.reach()
        welcomes = {}
        for agent, entry in entries.items():
            wanted = wanted_by(entry)
            known = wanted == "known" and (agent in asker.charges or lives.shelf.together(asker.name, agent))
            welcomes[agent] = Welcome(wanted, known, lives.shelf.put_in(asker.name, agent))
        return welcomes

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
        sidebar, _ = await self.allowed(context_id, Action.READ)
        return sidebar

    async def allowed(self, sidebar_id: str, *actions: Action) -> tuple[Sidebar, frozenset[Action]]:
        """A sidebar, and which of these actions the caller may take; at least one. Raises as `readable`."""
        sidebar = await self.house.past(self.group, sidebar_id)
        if sidebar is not None:
            asker, parent = await self.asker(), await self._parent(sidebar)
            if granted := frozenset(action for action in actions if may(action, asker, sidebar, parent)):
                return sidebar, granted
        raise unseen(Asker(self.caller, self.role), sidebar_id, "sidebar_id")

    async def asker(self) -> Asker:
        """Who asks, with everything a right may depend on."""
        return await _asker(self.house, self.group, self.caller, self.role, self.access)

    async def _parent(self, sidebar: Sidebar) -> Sidebar | None:
        if sidebar.parent_id == MAIN:
            return None
        return await self.house.past(self.group, sidebar.parent_id)


async def _asker(house: House, group: str, name: str, kind: str, access: frozenset[str]) -> Asker:
    charges = await house.charges(group, name) if kind == "human" else frozenset()
    return Asker(name, kind, access, charges)
