"""The life of a sidebar, by its rules alone."""

from __future__ import annotations

import pytest

from backchannel.domain.sidebar import MOVES, TERMINAL
from backchannel.errors import Conflict, Forbidden, IllegalTransition, TooLarge
from backchannel.protocol.catalog import write
from backchannel.protocol.sidebar_status import SidebarStatus
from tests.build import message
from tests.domain.paper import Paper


def test_the_table_knows_all_ten_statuses_and_what_is_archived_stays_so() -> None:
    assert set(MOVES) == set(SidebarStatus) and len(SidebarStatus) == 10
    assert MOVES[SidebarStatus.ARCHIVED] == frozenset()
    assert all(SidebarStatus.FAILED in MOVES[status] for status in SidebarStatus if status not in TERMINAL)
    assert all(
        SidebarStatus.ARCHIVED in MOVES[status]
        for status in SidebarStatus
        if status is not SidebarStatus.ARCHIVED
    )


def test_a_spawned_sidebar_holds_its_spawner_and_whom_it_names_once() -> None:
    paper = Paper()
    made = paper.spawn("ada", "bob", "bob", "ada", coordinator="carol")
    sidebar = paper.sidebar(made)
    assert sidebar is not None
    assert sidebar.members == ("ada", "carol", "bob")
    assert (sidebar.status, sidebar.coordinator, sidebar.parent_id) == (SidebarStatus.ACTIVE, "carol", "main")


def test_a_child_takes_its_parents_priority_unless_it_has_its_own() -> None:
    paper = Paper()
    parent = paper.spawn("ada", priority="critical")
    child = paper.sidebar(paper.spawn("ada", parent_id=parent))
    other = paper.sidebar(paper.spawn("ada", parent_id=parent, priority="low"))
    assert child is not None and other is not None
    assert (child.priority, other.priority) == ("critical", "low")


def test_inheritance_is_by_reference_up_to_the_spawn_and_no_deeper_than_asked() -> None:
    paper = Paper()
    grandparent = paper.spawn("ada")
    parent = paper.spawn("ada", parent_id=grandparent)
    child = paper.sidebar(paper.spawn("ada", parent_id=parent))
    shallow = paper.sidebar(paper.spawn("ada", parent_id=parent, inherit={"depth": 1}))
    alone = paper.sidebar(paper.spawn("ada", parent_id=parent, inherit={"depth": 0}))
    assert child and shallow and alone
    assert [found.context_id for found in child.inherited] == [parent, grandparent, "main"]
    assert [found.context_id for found in shallow.inherited] == [parent]
    assert alone.inherited == ()
    assert child.inherited[0].to == "00000000.3"


def test_the_same_command_again_changes_nothing() -> None:
    paper = Paper()
    command = message("sidebar_spawn", participants=["bob"])
    made = paper.ask("ada", command)
    again = paper.ask("ada", command)
    assert made.events and again.repeated and not again.events
    assert len(paper.ids()) == 1


def test_an_id_in_use_is_a_conflict() -> None:
    paper = Paper()
    paper.spawn("ada", sidebar_id="logins")
    with pytest.raises(Conflict):
        paper.spawn("ada", sidebar_id="logins")
    with pytest.raises(Conflict):
        paper.spawn("bob", sidebar_id="main")


@pytest.mark.parametrize(
    "kind", ["sidebar_pause", "sidebar_merge", "sidebar_archive", "sidebar_invite", "sidebar_test_result"]
)
def test_who_is_not_in_it_may_not_and_who_names_none_is_told(kind: str) -> None:
    paper = Paper()
    made = paper.spawn("ada")
    answers = []
    for name in (made, "nowhere"):
        with pytest.raises(Forbidden) as refusal:
            paper.ask("eve", message(kind, sidebar_id=name))
        answers.append((refusal.value.message.replace(name, "…"), refusal.value.field))
    assert answers[0] == answers[1]


def test_an_illegal_move_lists_the_legal_ones() -> None:
    paper = Paper()
    made = paper.spawn("ada")
    paper.ask("ada", message("sidebar_pause", sidebar_id=made))
    with pytest.raises(IllegalTransition) as refusal:
        paper.ask("ada", message("sidebar_merge", sidebar_id=made))
    assert "active, archived, failed" in refusal.value.message


def test_who_left_may_come_back_and_a_stranger_needs_access() -> None:
    paper = Paper()
    made = paper.spawn("ada", "bob")
    paper.ask("bob", message("sidebar_leave", sidebar_id=made))
    with pytest.raises(Forbidden):
        paper.ask("eve", message("sidebar_join", sidebar_id=made))
    paper.ask("bob", message("sidebar_join", sidebar_id=made))
    paper.ask("eve", message("sidebar_join", sidebar_id=made), access=frozenset({made}))
    sidebar = paper.sidebar(made)
    assert sidebar is not None and sidebar.members == ("ada", "bob", "eve")


def test_a_sidebar_outlives_its_last_participant() -> None:
    paper = Paper()
    made = paper.spawn("ada")
    paper.ask("ada", message("sidebar_leave", sidebar_id=made))
    sidebar = paper.sidebar(made)
    assert sidebar is not None and sidebar.members == () and sidebar.open


def test_a_sidebar_does_not_grow_without_end() -> None:
    paper = Paper()
    made = paper.spawn("ada")
    paper.ask("ada", message("sidebar_invite", sidebar_id=made, agents=[f"a{n}" for n in range(255)]))
    with pytest.raises(TooLarge):
        paper.ask("ada", message("sidebar_invite", sidebar_id=made, agents=["one-more"]))


def test_a_merge_brings_findings_and_references_to_the_parent_and_says_what_its_merger_says() -> None:
    paper = Paper()
    parent = paper.spawn("ada")
    child = paper.spawn("ada", parent_id=parent)
    paper.ask(
        "ada", message("sidebar_merge", sidebar_id=child, consolidated_findings={"found": 3}, success=False)
    )
    above, below = paper.sidebar(parent), paper.sidebar(child)
    assert above is not None and below is not None and below.ending is not None
    assert below.status is SidebarStatus.MERGED and below.ending.success is False
    assert above.child_results[-1]["consolidated_findings"] == {"found": 3}
    assert above.open_children == () and child in above.cross_refs


def test_a_merge_into_main_is_written_down_in_main() -> None:
    paper = Paper()
    made = paper.spawn("ada")
    paper.ask("ada", message("sidebar_merge", sidebar_id=made))
    assert [(context, told.type) for context, told in paper.elsewhere] == [("main", "sidebar_merge")]


def test_merging_twice_has_one_effect_and_the_same_answer() -> None:
    paper = Paper()
    made = paper.spawn("ada")
    once = paper.ask("ada", message("sidebar_merge", sidebar_id=made))
    twice = paper.ask("ada", message("sidebar_merge", sidebar_id=made, consolidated_findings="other"))
    assert not twice.events and twice.result["already"]
    assert once.result["sidebar_status"] == twice.result["sidebar_status"] == "merged"


@pytest.mark.parametrize("how", ["merge", "archive"])
def test_open_children_block_a_merge_unless_it_says_how_to_treat_them(how: str) -> None:
    paper = Paper()
    parent = paper.spawn("ada")
    child = paper.spawn("ada", parent_id=parent)
    grandchild = paper.spawn("ada", parent_id=child)
    with pytest.raises(IllegalTransition) as refusal:
        paper.ask("ada", message("sidebar_merge", sidebar_id=parent))
    assert child in refusal.value.message
    paper.ask("ada", message("sidebar_merge", sidebar_id=parent, open_children=how))
    paper.ask("ada", message("sidebar_archive", sidebar_id=parent))
    ended = SidebarStatus.MERGED if how == "merge" else SidebarStatus.ARCHIVED
    for made, status in ((parent, SidebarStatus.ARCHIVED), (child, ended), (grandchild, ended)):
        sidebar = paper.sidebar(made)
        assert sidebar is not None and sidebar.status is status


@pytest.mark.parametrize("end", ["sidebar_archive", "fail"])
def test_what_is_archived_or_failed_lives_again_as_a_fork_with_its_whole_context(end: str) -> None:
    paper = Paper()
    made = paper.spawn("ada", "bob")
    if end == "fail":
        paper.ask(
            "ada", message("sidebar_status_update", sidebar_id=made, new_status="failed", reason="gone")
        )
    else:
        paper.ask("ada", message(end, sidebar_id=made))
    forked = paper.sidebar(
        str(paper.ask("bob", message("sidebar_fork", original_sidebar_id=made)).result["sidebar_id"])
    )
    assert forked is not None and forked.open
    assert forked.forked_from == made and made in forked.cross_refs
    assert [found.context_id for found in forked.inherited] == [made, "main"]
    assert set(forked.members) == {"ada", "bob"}


def test_a_failure_keeps_its_reason_and_tells_the_parent() -> None:
    paper = Paper()
    parent = paper.spawn("ada")
    child = paper.spawn("ada", parent_id=parent)
    paper.ask(
        "ada", message("sidebar_status_update", sidebar_id=child, new_status="failed", reason="no access")
    )
    above, below = paper.sidebar(parent), paper.sidebar(child)
    assert below is not None and below.ending is not None and below.ending.reason == "no access"
    assert above is not None and above.open_children == ()


def test_a_sidebar_waits_for_something_until_it_is_resumed() -> None:
    paper = Paper()
    made = paper.spawn("ada")
    paper.ask("ada", message("sidebar_waiting_update", sidebar_id=made, estimated_wait_time=60))
    waiting = paper.sidebar(made)
    assert waiting is not None and waiting.waiting is not None and waiting.waiting.estimate == 60
    paper.ask("ada", message("sidebar_resume", sidebar_id=made))
    resumed = paper.sidebar(made)
    assert resumed is not None and resumed.waiting is None and resumed.status is SidebarStatus.ACTIVE


def test_an_ended_sidebar_takes_no_children() -> None:
    paper = Paper()
    made = paper.spawn("ada")
    paper.ask("ada", message("sidebar_archive", sidebar_id=made))
    with pytest.raises(IllegalTransition):
        paper.spawn("ada", parent_id=made)


def test_long_findings_of_children_do_not_make_their_parent_too_large_to_merge() -> None:
    paper = Paper()
    parent = paper.spawn("ada")
    for _ in range(12):
        child = paper.spawn("ada", parent_id=parent)
        paper.ask("ada", message("sidebar_merge", sidebar_id=child, consolidated_findings="x" * 900_000))
    merged = paper.ask("ada", message("sidebar_merge", sidebar_id=parent, consolidated_findings="done"))
    told = next(out.message for out in merged.events if out.message.type == "sidebar_merge")
    assert len(write(told)) < 100_000
    above = paper.sidebar(parent)
    assert (
        above is not None and above.child_results[-1]["findings_in"] == above.child_results[-1]["sidebar_id"]
    )
