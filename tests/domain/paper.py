"""A log on paper: the least that the rules of sidebars need to be tried without a server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from backchannel.delivery.audience import Membership, life
from backchannel.domain.decision import Decision
from backchannel.domain.sidebar import Ask, Sidebar, decide, fold
from backchannel.domain.sidebar.decide import touched
from backchannel.protocol.message import Message
from backchannel.protocol.sidebar import ContextRange, SidebarFork
from backchannel.protocol.subject import InContext
from tests.build import message


class Paper:
    """Takes commands one at a time and keeps what follows, as one total order."""

    def __init__(self) -> None:
        self.log: list[tuple[str, Message]] = []
        self.elsewhere: list[tuple[str, Message]] = []
        self.now = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def sidebar(self, sidebar_id: str) -> Sidebar | None:
        """Folded from the log alone."""
        return fold((at, event) for at, (context, event) in enumerate(self.log, 1) if context == sidebar_id)

    def ids(self) -> set[str]:
        return {context for context, _ in self.log}

    def ask(self, sender: str, command: Any, access: frozenset[str] = frozenset()) -> Decision:
        """Decide and keep. Raises what the rules raise, and keeps nothing then."""
        self.now += timedelta(seconds=1)
        ask = Ask(sender, command, self.now, {}, "00000000.0", f"00000000.{len(self.log)}", access)
        wanted = getattr(command, "sidebar_id", None) or getattr(command, "child_sidebar_id", None)
        new_id = ask.new_id(getattr(command, "new_sidebar_id", None) or wanted)
        known = {name: self.sidebar(name) for name in (*touched(command, new_id), *self.ids())}
        asked = Ask(sender, command, self.now, known, ask.start, ask.head, access)
        if isinstance(command, SidebarFork):
            asked = replace(asked, stays=self.stays(sender, command.original_sidebar_id))
        decision = decide(asked)
        for out in decision.events:
            if isinstance(out.to, InContext) and out.to.kind == "life":
                self.log.append((out.to.context_id, out.message))
            elif isinstance(out.to, InContext):
                self.elsewhere.append((out.to.context_id, out.message))
        return decision

    def stays(self, agent: str, sidebar_id: str) -> tuple[ContextRange, ...]:
        """Where an agent was in a sidebar, as its life on this paper says."""
        membership = Membership()
        for at, (context, event) in enumerate(self.log, 1):
            if context == sidebar_id:
                membership.fold(at, context, life(event.model_dump(mode="json")))
        return membership.stays(agent, sidebar_id, "00000000")

    def spawn(self, sender: str, *others: str, **fields: Any) -> str:
        made = self.ask(sender, message("sidebar_spawn", participants=list(others), **fields))
        return str(made.result["sidebar_id"])
