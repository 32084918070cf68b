"""Waiting: who waits for whom, who is told, and which waits are refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.domain.decision import Decision
from backchannel.domain.settings import USUAL
from backchannel.domain.sidebar import Sidebar
from backchannel.domain.sidebar.wait import MOST_AWAITED, WAITS, overdue
from backchannel.errors import BackchannelError, Forbidden, TooLarge, WouldDeadlock
from backchannel.protocol.sidebar import SidebarClosed
from backchannel.protocol.sidebar_status import SidebarStatus
from tests.build import message
from tests.domain.paper import Paper


def wait(paper: Paper, sidebar: str, *others: str, **fields: Any) -> Decision:
    told = {"waiting_for": "other_sidebar", "dependency_refs": list(others), **fields}
    return paper.ask("ada", message("sidebar_waiting_update", sidebar_id=sidebar, **told))


def seen_by_ada(paper: Paper, *members: str) -> str:
    """A sidebar of others that ada coordinates from outside."""
    made = paper.spawn(*members, coordinator="ada")
    paper.ask("ada", message("sidebar_leave", sidebar_id=made))
    return made


def state(paper: Paper, sidebar: str) -> Sidebar:
    found = paper.sidebar(sidebar)
    assert found is not None
    return found


def notices(paper: Paper, sidebar: str) -> list[str]:
    """The ended sidebars of which one that waited was told."""
    return [
        event.sidebar_id
        for context, event in paper.log
        if context == sidebar and isinstance(event, SidebarClosed) and event.awaited_by == sidebar
    ]


@pytest.fixture
def paper() -> Paper:
    return Paper()


def test_both_lives_keep_that_one_waits_for_the_other(paper: Paper) -> None:
    mine, theirs = paper.spawn("ada"), seen_by_ada(paper, "bob", "carol")
    decision = wait(paper, mine, theirs, theirs)
    assert decision.in_order == (WAITS,)
    assert state(paper, mine).waits_for == (theirs,)
    other = state(paper, theirs)
    assert (other.awaited_by, other.status, other.members) == (
        (mine,),
        SidebarStatus.ACTIVE,
        ("bob", "carol"),
    )


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("sidebar_merge", {}),
        ("sidebar_archive", {}),
        ("sidebar_status_update", {"new_status": "failed"}),
    ],
)
def test_whatever_ends_it_those_who_wait_are_told_once(paper: Paper, kind: str, fields: Any) -> None:
    theirs = seen_by_ada(paper, "bob")
    first, second = paper.spawn("ada"), paper.spawn("ada")
    for waiting in (first, second):
        wait(paper, waiting, theirs)
    paper.ask("bob", message(kind, sidebar_id=theirs, **fields))
    for waiting in (first, second):
        assert notices(paper, waiting) == [theirs]
        assert state(paper, waiting).status is SidebarStatus.WAITING
        assert state(paper, waiting).waits_for == ()


def test_one_that_was_paused_while_it_waited_is_told_and_one_that_went_on_is_not(paper: Paper) -> None:
    theirs, paused, gone = seen_by_ada(paper, "bob"), paper.spawn("ada"), paper.spawn("ada")
    for waiting in (paused, gone):
        wait(paper, waiting, theirs)
    paper.ask("ada", message("sidebar_pause", sidebar_id=paused))
    paper.ask("ada", message("sidebar_resume", sidebar_id=gone))
    paper.ask("bob", message("sidebar_archive", sidebar_id=theirs))
    assert (notices(paper, paused), notices(paper, gone)) == ([theirs], [])


def test_children_that_end_with_their_parent_are_told_of_and_the_parent_itself_is_not(paper: Paper) -> None:
    parent = paper.spawn("ada")
    child = paper.spawn("ada", parent_id=parent)
    onlooker = paper.spawn("ada")
    wait(paper, parent, child)
    wait(paper, onlooker, child, parent)
    paper.ask("ada", message("sidebar_resume", sidebar_id=parent))
    wait(paper, parent, child)
    paper.ask("ada", message("sidebar_status_update", sidebar_id=parent, new_status="reviewing"))
    paper.ask("ada", message("sidebar_merge", sidebar_id=parent, open_children="merge"))
    assert notices(paper, onlooker) == [child, parent]
    assert notices(paper, parent) == []


def test_a_parent_that_waits_for_a_child_hears_of_its_failure_once(paper: Paper) -> None:
    parent = paper.spawn("ada")
    child = paper.spawn("ada", parent_id=parent)
    wait(paper, parent, child)
    paper.ask("ada", message("sidebar_status_update", sidebar_id=child, new_status="failed"))
    told = [event for context, event in paper.log if context == parent and isinstance(event, SidebarClosed)]
    assert [event.sidebar_id for event in told] == [child]
    assert state(paper, parent).waits_for == ()


def test_of_what_has_ended_already_it_is_told_at_once(paper: Paper) -> None:
    mine, over, still = paper.spawn("ada"), paper.spawn("ada"), paper.spawn("ada")
    paper.ask("ada", message("sidebar_archive", sidebar_id=over))
    assert wait(paper, mine, over, still).result["ended"] == {over: "archived"}
    assert notices(paper, mine) == [over] and state(paper, mine).waits_for == (still,)


def test_references_of_other_waits_mean_nothing_to_the_platform(paper: Paper) -> None:
    mine = paper.spawn("ada")
    assert wait(paper, mine, "ticket 17", waiting_for="external_dependency").in_order == ()
    assert state(paper, mine).waits_for == ()


def test_unknown_ones_too_many_and_oneself_are_refused(paper: Paper) -> None:
    mine = paper.spawn("ada")
    with pytest.raises(Forbidden, match="nowhere"):
        wait(paper, mine, "nowhere")
    with pytest.raises(Forbidden):
        wait(paper, mine, "main")
    with pytest.raises(TooLarge):
        wait(paper, mine, *(f"sb-{number}" for number in range(MOST_AWAITED + 1)))
    with pytest.raises(WouldDeadlock, match=f"{mine} waits for {mine}"):
        wait(paper, mine, mine)


@given(st.lists(st.tuples(st.integers(0, 5), st.sets(st.integers(0, 5), min_size=1)), max_size=25))
def test_whatever_is_asked_no_circle_ever_comes_to_be(steps: list[tuple[int, set[int]]]) -> None:
    paper = Paper()
    names = [paper.spawn("ada") for _ in range(6)]
    for waiter, others in steps:
        before = len(paper.log)
        try:
            wait(paper, names[waiter], *(names[other] for other in sorted(others)))
        except BackchannelError as refused:
            assert isinstance(refused, WouldDeadlock) and len(paper.log) == before
    edges = {name: state(paper, name).waits_for for name in names}
    while free := [name for name, others in edges.items() if not set(others) & set(edges)]:
        for name in free:
            del edges[name]
    assert edges == {}


def test_an_estimate_starts_a_timer_and_going_on_stops_it(paper: Paper) -> None:
    mine = paper.spawn("ada")
    human = {"waiting_for": "human_input", "estimated_wait_time": 30}
    started = wait(paper, mine, **human)
    (timer,) = started.timers
    assert (timer.key, timer.at) == (mine, paper.now + timedelta(seconds=30))
    again = wait(paper, mine, waiting_for="human_input")
    assert [(timer.name, timer.at) for timer in again.timers] == [("estimate", None)]
    wait(paper, mine, **human)
    resumed = paper.ask("ada", message("sidebar_resume", sidebar_id=mine))
    assert [(timer.name, timer.at) for timer in resumed.timers] == [("estimate", None)]


def test_the_notice_of_a_passed_estimate_is_given_once_and_only_for_the_same_wait(paper: Paper) -> None:
    mine = paper.spawn("ada")
    wait(paper, mine, waiting_for="human_input", estimated_wait_time=30)
    cause = state(paper, mine).applied[-1]
    decision = overdue(state(paper, mine), cause, uuid4(), paper.now)
    (out,) = decision.events
    paper.log.append((mine, out.message))
    late = state(paper, mine)
    assert late.waiting is not None and late.waiting.overdue and late.waiting.cause == cause
    assert overdue(late, cause, uuid4(), paper.now) == Decision()
    wait(paper, mine, waiting_for="human_input")
    assert overdue(state(paper, mine), cause, uuid4(), paper.now) == Decision()
    assert overdue(None, cause, uuid4(), paper.now) == Decision()


def test_a_life_has_a_timer_for_its_silence_from_its_birth_to_its_end(paper: Paper) -> None:
    born = paper.ask("ada", message("sidebar_spawn", sidebar_id="sb-1"))
    (timer,) = born.timers
    at = paper.now + timedelta(seconds=USUAL.cleanup.warn_after)
    assert (timer.service, timer.key, timer.at) == ("idle", "sb-1", at)
    assert paper.ask("ada", message("sidebar_pause", sidebar_id="sb-1")).timers == ()
    ended = paper.ask("ada", message("sidebar_archive", sidebar_id="sb-1"))
    assert {(timer.name, timer.at) for timer in ended.timers} == {("silence", None), ("estimate", None)}
