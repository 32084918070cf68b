"""Sidebars: a smaller room for one task, opened, used and brought to an end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from backchannel.client.compose import compose
from backchannel.client.inbox import Reader
from backchannel.client.notice import Incoming
from backchannel.client.steering import Steering
from backchannel.errors import BackchannelError
from backchannel.protocol import sidebar as words
from backchannel.protocol.result import Result
from backchannel.protocol.sidebar_status import SidebarPriority

if TYPE_CHECKING:
    from backchannel.client.agent import Agent
    from backchannel.client.voice import Receipt

LAST_WORD = 10.0
"""Seconds a block that failed may take to say so."""
_log = logging.getLogger("backchannel.client")


class Sidebar(Steering):
    """A sidebar this agent is in.

    Attributes:
        id: its id, which is also its context's id.
        participants: as of its beginning; empty if this agent did not open it.
        inherited: what it sees of its ancestors' contexts, as ranges ``{context_id, from, to}``.
        matched: whom the platform chose for which specialty, as ``{agent_id, specialty, reason}``.
        notes: what the platform remarked when it was opened.
    """

    def __init__(self, agent: Agent, sidebar_id: str, opened: Result | None = None) -> None:
        fields = (opened.model_extra or {}) if opened else {}
        super().__init__(agent, sidebar_id)
        self._agent = agent
        self.participants: tuple[str, ...] = tuple(fields.get("participants") or ())
        self.inherited: list[dict[str, Any]] = list(fields.get("inherited_context") or ())
        self.matched: list[dict[str, str]] = list(fields.get("matched") or ())
        self.notes: Any = fields.get("collaboration_notes")
        self.ended = False

    async def say(
        self,
        text: str,
        *,
        topic: str | None = None,
        data_refs: Sequence[str] = (),
        priority: SidebarPriority | str | None = None,
        sealed: bool = False,
    ) -> Receipt:
        """Say something to everyone in it; `sealed`: so that nobody but them can read it.

        Raises:
            Forbidden: this agent is no participant, or somebody's sealing key has changed.
            Conflict: a participant has published no sealing key. BackchannelError: see `Agent.send`.
        """
        fields = {"sidebar_id": self.id, "topic": topic, "data_refs": list(data_refs), "priority": priority}
        if sealed:
            return await self._agent.send_sealed(text, fields)
        return await self._agent.send(compose(words.SidebarMessage, content=text, **fields))

    async def merge(
        self,
        findings: str | dict[str, Any] | list[Any],
        *,
        success: bool = True,
        exchanges: Sequence[str] = (),
        open_children: Literal["refuse", "merge", "archive"] = "refuse",
    ) -> Result:
        """Bring the findings into the parent's context, with the exchanges named by id, and end it.

        Raises:
            IllegalTransition: it has ended otherwise, or has open children.
            BackchannelError: see `Agent.request`.
        """
        result = await self._ask(
            words.SidebarMerge,
            consolidated_findings=findings,
            success=success,
            exchanges_to_merge=list(exchanges),
            open_children=open_children,
        )
        self.ended = True
        return result

    async def archive(self, reason: str) -> Result:
        """Put it away without bringing anything into the parent. Raises as `merge`."""
        result = await self._ask(words.SidebarArchive, archive_reason=reason)
        self.ended = True
        return result

    async def fail(self, reason: str) -> Result:
        """End it as failed, and say why. Raises as `merge`."""
        result = await self._ask(words.SidebarStatusUpdate, new_status="failed", reason=reason)
        self.ended = True
        return result

    async def leave(self) -> Result:
        """Stop being a participant. Raises as `Agent.request`."""
        result = await self._ask(words.SidebarLeave)
        self.ended = True
        return result

    def child(
        self,
        task: str,
        *,
        with_: Sequence[str] = (),
        sidebar_id: str | None = None,
        specialties: Sequence[str] = (),
        success_criteria: str | None = None,
        priority: SidebarPriority | str | None = None,
        coordinator: str | None = None,
        depth: int | None = None,
    ) -> OpenedSidebar:
        """A sidebar below this one, for a part of its task; used like `Agent.sidebar`, with its fields."""
        return self._agent.sidebar(
            task,
            with_=with_,
            parent=self.id,
            sidebar_id=sidebar_id,
            specialties=specialties,
            success_criteria=success_criteria,
            priority=priority,
            coordinator=coordinator,
            depth=depth,
        )

    def fork(
        self, reason: str, *, with_: Sequence[str] | None = None, sidebar_id: str | None = None
    ) -> OpenedSidebar:
        """A second life for this sidebar, also after its end, with its whole context.

        Used like `Agent.sidebar`. `with_`: who is in it; None is whoever is in this one.
        """
        fork = compose(
            words.SidebarFork,
            original_sidebar_id=self.id,
            fork_reason=reason,
            participants=None if with_ is None else list(with_),
            new_sidebar_id=sidebar_id,
        )
        return OpenedSidebar(self._agent, fork)

    async def messages(self, *, own: bool = False) -> AsyncIterator[Incoming]:
        """What is said and happens in it, until it ends. `own`: also what this agent says.

        While this is read, it does not come through `Agent.inbox`. What waited there moves over. A sidebar
        whose end this agent has heard before has nothing more to say; ask for its ``context`` instead.
        """
        mailroom = self._agent.mailroom
        box = mailroom.claim(self.id)
        box.wants_own = box.wants_own or own
        reader = Reader(mailroom, box)
        try:
            while (message := await reader.next()) is not None:
                yield message
        finally:
            reader.put_back()
            mailroom.release(self.id)


class OpenedSidebar:
    """Opens a sidebar: ``async with`` brings it to an end if its block fails, ``await`` leaves it open.

    Inside the block, what happens in the sidebar comes through `Sidebar.messages` and not through
    `Agent.inbox`. A block that raises makes the sidebar ``failed``, with the exception as the reason, and the
    exception goes on. A block that ends in good order without `merge` or `archive` leaves it open, and what
    it did not read goes to the inbox.
    """

    def __init__(self, agent: Agent, spawn: words.SidebarSpawn | words.SidebarFork) -> None:
        self._agent = agent
        self._spawn = spawn
        self._sidebar: Sidebar | None = None
        self._claimed: str | None = None

    def __await__(self) -> Any:
        return self._open(None).__await__()

    async def __aenter__(self) -> Sidebar:
        try:
            self._sidebar = await self._open(self._claim)
        except BaseException:
            self._release()
            raise
        return self._sidebar

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        sidebar = self._sidebar
        self._release(settled=problem is None and sidebar is not None and sidebar.ended)
        if problem is not None and sidebar is not None and not sidebar.ended:
            await _fail(sidebar, problem)

    async def _open(self, on_result: Callable[[dict[str, Any]], None] | None) -> Sidebar:
        result = await self._agent.request(self._spawn, on_result=on_result)
        if result.sidebar_id is None:
            raise BackchannelError(
                "The platform opened a sidebar and did not say which; look it up with ask()."
            )
        return Sidebar(self._agent, result.sidebar_id, result)

    def _claim(self, result: dict[str, Any]) -> None:
        """Before anything else that happens in it is looked at, so that no first word goes elsewhere."""
        sidebar_id = result.get("sidebar_id")
        if isinstance(sidebar_id, str) and result.get("status") == "success":
            self._agent.mailroom.claim(sidebar_id)
            self._claimed = sidebar_id

    def _release(self, *, settled: bool = False) -> None:
        if self._claimed is not None:
            self._agent.mailroom.release(self._claimed, settled=settled)
            self._claimed = None


async def _fail(sidebar: Sidebar, problem: BaseException) -> None:
    """Say that the block failed. If that cannot be said, the block's own exception still matters more."""
    reason = f"{type(problem).__name__}: {problem}"[:4000]
    try:
        async with asyncio.timeout(LAST_WORD):
            await sidebar.fail(reason)
    except (BackchannelError, TimeoutError) as other:
        _log.warning("The sidebar %s could not be marked as failed: %s", sidebar.id, other)
        problem.add_note(f"The sidebar {sidebar.id} could not be marked as failed: {other}")
