"""Who may do what with a sidebar: one table, from which the checks, the tests and the reference are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from backchannel.errors import Forbidden, NotFound, Refused, no_sidebar_of
from backchannel.protocol.identifier import OPERATOR, PLATFORM

if TYPE_CHECKING:
    from backchannel.domain.sidebar.state import Sidebar


class Action(StrEnum):
    """What can be done with a sidebar; the value completes "may not … the sidebar"."""

    LOOK = "look at"
    READ = "read"
    SPEAK = "speak in"
    SPAWN = "open a child of"
    INVITE = "invite anybody to"
    JOIN = "join"
    LEAVE = "leave"
    PAUSE = "pause"
    RESUME = "resume"
    MOVE = "change the status of"
    WAIT = "say what is waited for in"
    AWAIT = "have another one wait for"
    TEST = "record a test in"
    MERGE = "merge"
    ARCHIVE = "archive"
    FAIL = "fail"
    FORK = "fork"


class Role(StrEnum):
    """How somebody stands to a sidebar; one may stand to it in several ways. The value says who that is."""

    PARTICIPANT = "a participant"
    COORDINATOR = "its coordinator, also after leaving"
    FORMER = "who was a participant before"
    PARENT = "a participant of the sidebar above it"
    HEIR = "a participant of the sidebar above it, once nobody is left in it"
    SUPERVISOR = "the human supervisor of a participant"
    ACCESS = "whose token names it in sidebar_access"
    OPERATOR = "the operator"
    PLATFORM = "the platform itself"


A, R = Action, Role
_OUTSIDE = frozenset({A.LOOK, A.JOIN, A.FORK})
_STEERING = frozenset({A.PAUSE, A.RESUME, A.ARCHIVE, A.FAIL})

RIGHTS: Mapping[Role, frozenset[Action]] = {
    R.PARTICIPANT: frozenset(Action),
    R.COORDINATOR: _OUTSIDE | _STEERING | {A.INVITE, A.AWAIT},
    R.FORMER: _OUTSIDE | {A.LEAVE},
    R.PARENT: frozenset({A.LOOK, A.AWAIT}),
    R.HEIR: frozenset({A.LOOK, A.ARCHIVE}),
    R.SUPERVISOR: _STEERING | {A.LOOK, A.READ},
    R.ACCESS: _OUTSIDE | {A.READ},
    R.OPERATOR: _STEERING | {A.LOOK, A.READ, A.SPEAK, A.SPAWN, A.INVITE, A.MERGE, A.FORK},
    R.PLATFORM: frozenset({A.LOOK, A.PAUSE, A.WAIT, A.ARCHIVE}),
}
"""What each role may do. A participant may do everything, because a coordinator may vanish like anybody else.

To look is to learn that it is there, where it stands and who is in it; what was said takes the right to read.
What touches two sidebars takes a right on both: to wait for another one leaves a word in its life.
"""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, as the platform's doors know it.

    ``kind`` is agent, human, service or operator. ``charges`` are the agents whose tokens name this asker as
    their human supervisor; empty for anybody who is not a human.
    """

    name: str
    kind: str = "agent"
    access: frozenset[str] = frozenset()
    charges: frozenset[str] = frozenset()


def may(action: Action, asker: Asker, sidebar: Sidebar, parent: Sidebar | None) -> bool:
    """Whether the table lets ``asker`` do this; ``parent`` None is ``main``, or not known here."""
    return any(action in RIGHTS[role] and _holds(role, asker, sidebar, parent) for role in Role)


def roles(asker: Asker, sidebar: Sidebar, parent: Sidebar | None) -> frozenset[Role]:
    """Every way in which ``asker`` stands to ``sidebar``."""
    return frozenset(role for role in Role if _holds(role, asker, sidebar, parent))


def _holds(role: Role, asker: Asker, sidebar: Sidebar, parent: Sidebar | None) -> bool:
    match role:
        case Role.PARTICIPANT:
            return sidebar.has(asker.name)
        case Role.COORDINATOR:
            return sidebar.coordinator == asker.name
        case Role.FORMER:
            return asker.name in sidebar.invited
        case Role.PARENT:
            return parent is not None and parent.has(asker.name)
        case Role.HEIR:
            return parent is not None and parent.has(asker.name) and not sidebar.members
        case Role.SUPERVISOR:
            return not asker.charges.isdisjoint(sidebar.members)
        case Role.ACCESS:
            return sidebar.sidebar_id in asker.access
        case Role.OPERATOR:
            return is_operator(asker)
        case Role.PLATFORM:
            return asker.name == PLATFORM


def is_operator(asker: Asker) -> bool:
    """Whether it is whoever runs the platform, and sees all there is."""
    return asker.name == OPERATOR and asker.kind == OPERATOR


def unseen(asker: Asker, sidebar_id: str, field: str) -> Refused:
    """The answer for a sidebar that the asker may not look at, and for none at all. Who sees all is told."""
    if is_operator(asker) or asker.name == PLATFORM:
        return NotFound(f"There is no sidebar {sidebar_id}.", field=field)
    return no_sidebar_of(asker.name, sidebar_id, field)


def refused(asker: Asker, action: Action, sidebar: Sidebar, field: str) -> Forbidden:
    """Why not, and what to do about it."""
    return Forbidden(
        f"{asker.name} is not a participant of the sidebar {sidebar.sidebar_id} and may not"
        f" {action.value} it; ask one of them to invite you.",
        field=field,
    )
