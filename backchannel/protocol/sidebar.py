"""Sidebars: what may be asked of one, and what is said of it.

Each class is both: the request an agent sends, and, with the fields under *Filled by the platform*, the event
that the group's log keeps. What a client writes into those fields is ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from backchannel.protocol.identifier import Identifier
from backchannel.protocol.memory import Exchange
from backchannel.protocol.message import Agents, Checked, Message, References, Seconds, ShortText, Text, Way
from backchannel.protocol.sidebar_status import SidebarPriority, SidebarStatus


class Inherit(BaseModel):
    """How much of the ancestors' context a sidebar sees.

    ``depth`` counts ancestors: 0 inherits nothing, 1 the parent's own context, 2 its parent's too.
    """

    model_config = ConfigDict(defer_build=True, extra="allow", frozen=True)

    depth: Annotated[int, Field(ge=0, le=64, strict=True)] | None = None


class ContextRange(BaseModel):
    """A stretch of one context, by reference: positions after ``from`` and up to and including ``to``."""

    model_config = ConfigDict(defer_build=True, extra="allow", frozen=True, populate_by_name=True)

    context_id: Identifier
    start: str = Field(alias="from")
    to: str


class SidebarMessageBody(Message):
    """Something asked of, or said about, one sidebar."""

    way: ClassVar[Way] = Way.STATEFUL

    # Filled by the platform, in events:
    status: SidebarStatus | None = None
    old_status: SidebarStatus | None = None
    members: Annotated[list[str], Field(max_length=4096)] | None = None
    by: Identifier | None = None
    cause: str | None = None


class SidebarSpawn(SidebarMessageBody):
    """Open a sidebar under ``parent_id`` (``main`` or another sidebar) and bring ``participants`` in."""

    type: Literal["sidebar_spawn"] = "sidebar_spawn"
    parent_id: Identifier
    task_description: Text
    participants: Agents = []
    specialties: Agents = []
    sidebar_id: Identifier | None = None
    success_criteria: Text | None = None
    priority: SidebarPriority | None = None
    coordinator: Identifier | None = None
    inherit: Inherit | None = None
    auto_merge: bool = False

    # Filled by the platform:
    inherited_context: Annotated[list[ContextRange], Checked] | None = None
    data_refs: References | None = None
    cross_refs: References | None = None
    forked_from: Identifier | None = None
    matched: Annotated[list[dict[str, str]], Checked] | None = None

    example: ClassVar[dict[str, Any]] = {
        "parent_id": "main",
        "task_description": "Find out who logged in at night.",
        "participants": ["ada", "bob"],
    }


class SidebarChildSpawn(SidebarMessageBody):
    """Open a sidebar below another one, for a part of its task."""

    type: Literal["sidebar_child_spawn"] = "sidebar_child_spawn"
    parent_sidebar_id: Identifier
    sub_task_description: Text
    child_sidebar_id: Identifier | None = None
    assigned_agents: Agents = []
    priority: SidebarPriority | None = None

    example: ClassVar[dict[str, Any]] = {
        "parent_sidebar_id": "logins",
        "sub_task_description": "List the addresses.",
        "assigned_agents": ["bob"],
    }


class SidebarMessage(SidebarMessageBody):
    """Say something in a sidebar. Stored at once; only participants may."""

    way: ClassVar[Way] = Way.STATELESS
    type: Literal["sidebar_message"] = "sidebar_message"
    sidebar_id: Identifier
    content: Text
    topic: Identifier | None = None
    data_refs: References = []
    priority: SidebarPriority = SidebarPriority.NORMAL
    format: ShortText | None = None

    example: ClassVar[dict[str, Any]] = {"sidebar_id": "logins", "content": "Three came from one address."}


class SidebarStatusUpdate(SidebarMessageBody):
    """Move a sidebar to another status."""

    type: Literal["sidebar_status_update"] = "sidebar_status_update"
    sidebar_id: Identifier
    new_status: SidebarStatus
    reason: Text | None = None

    example: ClassVar[dict[str, Any]] = {"sidebar_id": "logins", "new_status": "testing"}


class SidebarPause(SidebarMessageBody):
    """Stop a sidebar for now; ``resume_condition`` says what must happen first."""

    type: Literal["sidebar_pause"] = "sidebar_pause"
    sidebar_id: Identifier
    reason: Text
    resume_condition: Text | None = None

    example: ClassVar[dict[str, Any]] = {"sidebar_id": "logins", "reason": "Bob sleeps."}


class SidebarResume(SidebarMessageBody):
    """Carry on with a paused or waiting sidebar."""

    type: Literal["sidebar_resume"] = "sidebar_resume"
    sidebar_id: Identifier
    reason: Text

    example: ClassVar[dict[str, Any]] = {"sidebar_id": "logins", "reason": "Bob is back."}


WaitingFor = Literal["human_input", "external_dependency", "other_sidebar", "system_resource"]


class SidebarWaitingUpdate(SidebarMessageBody):
    """Say what a sidebar is waiting for; ``dependency_refs`` name sidebars if it is `other_sidebar`.

    ``until`` is when the estimate passes; the platform says it again then, ``overdue``, if it still waits.
    """

    type: Literal["sidebar_waiting_update"] = "sidebar_waiting_update"
    sidebar_id: Identifier
    waiting_for: WaitingFor
    description: Text
    estimated_wait_time: Seconds | None = None
    dependency_refs: References = []

    # Filled by the platform:
    until: str | None = None
    overdue: bool = False

    example: ClassVar[dict[str, Any]] = {
        "sidebar_id": "logins",
        "waiting_for": "human_input",
        "description": "May we block the address?",
    }


class SidebarTestResult(SidebarMessageBody):
    """Record what a test showed; it becomes part of the sidebar's record."""

    type: Literal["sidebar_test_result"] = "sidebar_test_result"
    sidebar_id: Identifier
    test_description: Text
    result: Literal["passed", "failed", "inconclusive"]
    findings: Text
    next_test_suggestion: Text | None = None

    example: ClassVar[dict[str, Any]] = {
        "sidebar_id": "logins",
        "test_description": "Replay the log against the rule.",
        "result": "passed",
        "findings": "All three logins match.",
    }


class SidebarInvite(SidebarMessageBody):
    """Bring agents into a sidebar; they are participants from then on."""

    type: Literal["sidebar_invite"] = "sidebar_invite"
    sidebar_id: Identifier
    agents: Annotated[list[Identifier], Field(min_length=1, max_length=256)]

    example: ClassVar[dict[str, Any]] = {"sidebar_id": "logins", "agents": ["carol"]}


class SidebarJoin(SidebarMessageBody):
    """Become a participant of a sidebar one was invited to or has access to."""

    type: Literal["sidebar_join"] = "sidebar_join"
    sidebar_id: Identifier

    example: ClassVar[dict[str, Any]] = {"sidebar_id": "logins"}


class SidebarLeave(SidebarMessageBody):
    """Stop being a participant."""

    type: Literal["sidebar_leave"] = "sidebar_leave"
    sidebar_id: Identifier

    example: ClassVar[dict[str, Any]] = {"sidebar_id": "logins"}


class SidebarFork(SidebarMessageBody):
    """Give a sidebar, also an archived or failed one, a second life with its whole context."""

    type: Literal["sidebar_fork"] = "sidebar_fork"
    original_sidebar_id: Identifier
    fork_reason: Text
    new_sidebar_id: Identifier | None = None
    participants: Agents | None = None

    # Filled by the platform:
    parent_id: Identifier | None = None
    task_description: Text | None = None
    success_criteria: Text | None = None
    priority: SidebarPriority | None = None
    inherited_context: Annotated[list[ContextRange], Checked] | None = None
    data_refs: References | None = None
    cross_refs: References | None = None

    example: ClassVar[dict[str, Any]] = {
        "original_sidebar_id": "logins",
        "fork_reason": "The address is back.",
    }


class SidebarMerge(SidebarMessageBody):
    """Bring what a sidebar found into its parent's context, and end it.

    ``success`` is what the merging agent says; the platform records it and does not judge. In
    ``exchanges_to_merge`` it names messages of the sidebar by id, or writes exchanges down. Those named stand
    in ``merged_exchanges`` as they were said; where all else lies is in ``merged_context``.
    """

    type: Literal["sidebar_merge"] = "sidebar_merge"
    sidebar_id: Identifier
    consolidated_findings: str | dict[str, Any] | list[Any]
    success: Annotated[bool, Field(strict=True)]
    exchanges_to_merge: Annotated[list[ShortText | Exchange], Field(max_length=1000)] = []
    open_children: Literal["refuse", "merge", "archive"] = "refuse"

    # Filled by the platform:
    parent_id: Identifier | None = None
    data_refs: References | None = None
    child_results: list[Any] | None = None
    merged_exchanges: Annotated[list[dict[str, Any]], Checked] | None = None
    merged_context: Annotated[list[ContextRange], Checked] | None = None

    example: ClassVar[dict[str, Any]] = {
        "sidebar_id": "logins",
        "consolidated_findings": "One address, three accounts.",
        "success": True,
    }


class SidebarArchive(SidebarMessageBody):
    """Put a sidebar away; it stays readable and can be forked."""

    type: Literal["sidebar_archive"] = "sidebar_archive"
    sidebar_id: Identifier
    archive_reason: Text
    final_status: SidebarStatus | None = None

    example: ClassVar[dict[str, Any]] = {"sidebar_id": "logins", "archive_reason": "Nothing more to do."}


class SidebarClosed(SidebarMessageBody):
    """A sidebar has ended; told to its participants and, as a notice, to those who wait for it.

    ``awaited_by`` is the sidebar that waited, in the notice that it gets.
    """

    way: ClassVar[Way] = Way.PLATFORM
    type: Literal["sidebar_closed"] = "sidebar_closed"
    sidebar_id: Identifier
    final_status: SidebarStatus
    parent_id: Identifier | None = None
    awaited_by: Identifier | None = None
    reason: Text | None = None
    consolidated_findings: Any = None
    success: bool | None = None

    example: ClassVar[dict[str, Any]] = {"sidebar_id": "logins", "final_status": "merged"}


class SidebarCleanupWarning(SidebarMessageBody):
    """A sidebar has been idle and will be paused or archived unless somebody speaks."""

    way: ClassVar[Way] = Way.PLATFORM
    type: Literal["sidebar_cleanup_warning"] = "sidebar_cleanup_warning"
    sidebar_id: Identifier
    next_status: SidebarStatus
    at: str
    message: ShortText | None = None

    example: ClassVar[dict[str, Any]] = {
        "sidebar_id": "logins",
        "next_status": "paused",
        "at": "2026-01-31T12:00:00.000Z",
    }


SidebarCommand = (
    SidebarSpawn
    | SidebarChildSpawn
    | SidebarStatusUpdate
    | SidebarPause
    | SidebarResume
    | SidebarWaitingUpdate
    | SidebarTestResult
    | SidebarInvite
    | SidebarJoin
    | SidebarLeave
    | SidebarFork
    | SidebarMerge
    | SidebarArchive
)
"""What may be asked of a sidebar and is decided by a handler."""

SidebarNotice = SidebarMessage | SidebarClosed | SidebarCleanupWarning
