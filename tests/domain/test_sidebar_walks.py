"""Random walks: whatever agents ask in whatever order, however often, the invariants hold."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from backchannel.domain.sidebar import MOVES, Sidebar
from backchannel.errors import BackchannelError
from backchannel.protocol.sidebar_status import SidebarStatus
from tests.build import message
from tests.domain.paper import Paper

agents = st.sampled_from(["ada", "bob", "carol", "eve"])
groups = st.lists(agents, max_size=3)
kinds = st.sampled_from(
    [
        "sidebar_pause",
        "sidebar_resume",
        "sidebar_join",
        "sidebar_leave",
        "sidebar_merge",
        "sidebar_archive",
        "sidebar_test_result",
        "sidebar_waiting_update",
    ]
)


class Walk(RuleBasedStateMachine):
    """Four agents, one group, any requests."""

    sidebars = Bundle("sidebars")

    def __init__(self) -> None:
        super().__init__()
        self.paper = Paper()
        self.asked: list[tuple[str, Any]] = []
        self.seen: dict[str, SidebarStatus] = {}

    def ask(self, sender: str, command: Any) -> str | None:
        """Ask; a refusal must leave no trace."""
        before = len(self.paper.log)
        self.asked.append((sender, command))
        try:
            decision = self.paper.ask(sender, command)
        except BackchannelError as error:
            assert error.message and len(self.paper.log) == before
            return None
        return str(decision.result.get("sidebar_id", "")) or None

    @initialize(target=sidebars)
    def first(self) -> str:
        return self.ask("ada", message("sidebar_spawn", participants=["bob"])) or "none"

    @rule(target=sidebars, sender=agents, others=groups, parent=st.one_of(st.just("main"), sidebars))
    def spawn(self, sender: str, others: list[str], parent: str) -> str:
        return self.ask(sender, message("sidebar_spawn", participants=others, parent_id=parent)) or "none"

    @rule(target=sidebars, sender=agents, original=sidebars)
    def fork(self, sender: str, original: str) -> str:
        return self.ask(sender, message("sidebar_fork", original_sidebar_id=original)) or "none"

    @rule(sender=agents, sidebar=sidebars, kind=kinds)
    def change(self, sender: str, sidebar: str, kind: str) -> None:
        self.ask(sender, message(kind, sidebar_id=sidebar))

    @rule(sender=agents, sidebar=sidebars, status=st.sampled_from(list(SidebarStatus)))
    def move(self, sender: str, sidebar: str, status: SidebarStatus) -> None:
        self.ask(sender, message("sidebar_status_update", sidebar_id=sidebar, new_status=status.value))

    @rule(sender=agents, sidebar=sidebars, others=st.lists(agents, min_size=1, max_size=3))
    def invite(self, sender: str, sidebar: str, others: list[str]) -> None:
        self.ask(sender, message("sidebar_invite", sidebar_id=sidebar, agents=others))

    @rule(sender=agents, sidebar=consumes(sidebars), how=st.sampled_from(["merge", "archive"]))
    def merge_with_children(self, sender: str, sidebar: str, how: str) -> None:
        self.ask(sender, message("sidebar_merge", sidebar_id=sidebar, open_children=how))

    @rule(data=st.data())
    def deliver_again(self, data: st.DataObject) -> None:
        """What was asked before and comes again changes nothing, unless it was refused before."""
        if not self.asked:
            return
        sender, command = data.draw(st.sampled_from(self.asked))
        applied = any(f"{sender}:{command.message_id}" in sidebar.applied for sidebar in self._all())
        before = len(self.paper.log)
        try:
            self.paper.ask(sender, command)
        except BackchannelError:
            assert len(self.paper.log) == before
        if applied:
            assert len(self.paper.log) == before

    def _all(self) -> list[Sidebar]:
        return [found for name in self.paper.ids() if (found := self.paper.sidebar(name))]

    @invariant()
    def only_moves_of_the_table_happen(self) -> None:
        for sidebar in self._all():
            old = self.seen.get(sidebar.sidebar_id, SidebarStatus.ACTIVE)
            assert sidebar.status is old or sidebar.status in MOVES[old]
            self.seen[sidebar.sidebar_id] = sidebar.status

    @invariant()
    def parents_know_which_of_their_children_are_open(self) -> None:
        every = {sidebar.sidebar_id: sidebar for sidebar in self._all()}
        for sidebar in every.values():
            children = {found.sidebar_id for found in every.values() if found.parent_id == sidebar.sidebar_id}
            assert {child for child, _ in sidebar.children} == children
            if sidebar.status is SidebarStatus.MERGED:
                assert sidebar.open_children == ()
            if sidebar.open:
                assert set(sidebar.open_children) == {child for child in children if every[child].open}

    @invariant()
    def nobody_is_in_twice_and_everyone_in_was_brought_in(self) -> None:
        for sidebar in self._all():
            assert len(set(sidebar.members)) == len(sidebar.members)
            assert set(sidebar.members) <= set(sidebar.invited)
            assert sidebar.sidebar_id not in {found.context_id for found in sidebar.inherited}


TestWalks = Walk.TestCase
TestWalks.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
