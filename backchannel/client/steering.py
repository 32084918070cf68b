"""Steering: what a participant does with a sidebar between its beginning and its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

from backchannel.client.compose import compose
from backchannel.client.voice import Voice
from backchannel.protocol import sidebar as words
from backchannel.protocol.message import Message
from backchannel.protocol.result import Result
from backchannel.protocol.sidebar_status import SidebarStatus

PAGE = 200


class Steering:
    """The half of a sidebar that moves it. Every method raises what `Agent.request` raises."""

    def __init__(self, voice: Voice, sidebar_id: str) -> None:
        self.id = sidebar_id
        self._voice = voice

    async def invite(self, *agents: str) -> Result:
        """Bring agents in.

        Raises:
            UnknownAgent: the group does not know one of them; nobody was brought in.
        """
        return await self._ask(words.SidebarInvite, agents=list(agents))

    async def pause(self, reason: str, *, resume_when: str | None = None) -> Result:
        """Stop for now. `resume_when` says in words what must happen first.

        Raises:
            IllegalTransition: it cannot be paused from where it stands.
        """
        return await self._ask(words.SidebarPause, reason=reason, resume_condition=resume_when)

    async def resume(self, reason: str) -> Result:
        """Carry on after a pause or a wait.

        Raises:
            IllegalTransition: it cannot become active from where it stands.
        """
        return await self._ask(words.SidebarResume, reason=reason)

    async def move(self, status: SidebarStatus | str, reason: str | None = None) -> Result:
        """Move to another status, such as testing, reviewing or consolidating.

        Raises:
            IllegalTransition: the table of moves does not have this one.
        """
        return await self._ask(words.SidebarStatusUpdate, new_status=status, reason=reason)

    async def wait_for(
        self,
        what: words.WaitingFor,
        description: str,
        *,
        estimate: float | None = None,
        sidebars: Sequence[str] = (),
    ) -> Result:
        """Say what it waits for; `resume` ends that.

        Args:
            estimate: seconds it will take; if it still waits then, its participants are told.
            sidebars: the sidebars it waits for; its participants are told when one of them ends.

        Raises:
            Forbidden: there is no such sidebar that this agent may have waited for.
            WouldDeadlock: one of them waits for this one.
        """
        return await self._ask(
            words.SidebarWaitingUpdate,
            waiting_for=what,
            description=description,
            estimated_wait_time=estimate,
            dependency_refs=list(sidebars),
        )

    async def record_test(
        self,
        description: str,
        result: Literal["passed", "failed", "inconclusive"],
        findings: str,
        *,
        next_test: str | None = None,
    ) -> Result:
        """Record what a test showed; it becomes part of what the sidebar knows."""
        return await self._ask(
            words.SidebarTestResult,
            test_description=description,
            result=result,
            findings=findings,
            next_test_suggestion=next_test,
        )

    async def history(self, *, after: str | None = None, page: int = PAGE) -> AsyncIterator[dict[str, Any]]:
        """Every move since its beginning, oldest first: ``{cursor, type, by, at, before, after, why, …}``.

        Args:
            after: a cursor to begin behind.

        Raises:
            Forbidden: this agent may not read it.
        """
        while True:
            since: dict[str, Any] = {"after": after} if after else {}
            found = await self._voice.ask("history", sidebar_id=self.id, limit=page, **since)
            for move in found["moves"]:
                yield move
            after = found.get("next")
            if after is None:
                return

    async def _ask(self, kind: type[Message], **fields: Any) -> Result:
        return await self._voice.request(compose(kind, sidebar_id=self.id, **fields))
