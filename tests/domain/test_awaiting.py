"""Having another sidebar waited for: what it costs that one, and what is told to whom."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_core import to_json

from backchannel.domain.sidebar import Sidebar
from backchannel.domain.sidebar.wait import MOST_AWAITED, MOST_WAITING_OF_ONE
from backchannel.errors import Forbidden, TooLarge, WouldDeadlock
from backchannel.protocol.lane import Lane
from backchannel.protocol.sidebar import SidebarWaitingUpdate
from tests.build import message
from tests.domain.paper import Paper


def wait(paper: Paper, agent: str, sidebar: str, *others: str, **fields: Any) -> Any:
    told = {"waiting_for": "other_sidebar", "dependency_refs": list(others), **fields}
    return paper.ask(agent, message("sidebar_waiting_update", sidebar_id=sidebar, **told))


def state(paper: Paper, sidebar: str) -> Sidebar:
    found = paper.sidebar(sidebar)
    assert found is not None
    return found


def test_what_the_other_keeps_of_it_is_small_and_moves_nothing() -> None:
    paper = Paper()
    theirs = paper.spawn("ada", "eve", *(f"agent-{number}" for number in range(100)), priority="critical")
    mine = paper.spawn("eve")
    before = state(paper, theirs)
    made = wait(paper, "eve", mine, theirs, description="x" * 100_000, note="y" * 100_000)
    [told] = [
        out
        for out in made.events
        if isinstance(out.message, SidebarWaitingUpdate) and out.to.context_id == theirs
    ]
    assert len(to_json(told.message)) < 1000 and told.lane is Lane.NORMAL
    after = state(paper, theirs)
    assert after.awaited_by == (mine,)
    for name in ("last_activity", "acted", "applied", "members", "status", "warned", "put_in"):
        assert getattr(after, name) == getattr(before, name), name
    again = wait(paper, "eve", mine, theirs)
    assert [out.to.context_id for out in again.events] == [mine]


def test_one_agent_cannot_take_all_the_room_there_is_for_those_who_wait() -> None:
    paper = Paper()
    theirs = paper.spawn("ada", "eve")
    for _ in range(MOST_WAITING_OF_ONE):
        wait(paper, "eve", paper.spawn("eve"), theirs)
    with pytest.raises(TooLarge, match="by the word of eve"):
        wait(paper, "eve", paper.spawn("eve"), theirs)
    wait(paper, "ada", paper.spawn("ada"), theirs)


@pytest.mark.parametrize("what", ["other_sidebar", "external_dependency"])
def test_references_are_few_whatever_is_waited_for(what: str) -> None:
    paper = Paper()
    mine = paper.spawn("eve")
    with pytest.raises(TooLarge):
        wait(paper, "eve", mine, *(f"t{number}" for number in range(MOST_AWAITED + 1)), waiting_for=what)


def test_a_circle_is_told_without_the_names_of_what_its_teller_may_not_look_at() -> None:
    paper = Paper()
    mine, hidden = paper.spawn("eve", "ada"), paper.spawn("ada")
    between = paper.spawn("ada", "eve")
    wait(paper, "ada", between, hidden)
    wait(paper, "ada", hidden, mine)
    with pytest.raises(WouldDeadlock) as refusal:
        wait(paper, "eve", mine, between)
    assert hidden not in refusal.value.message and "another sidebar" in refusal.value.message
    assert between in refusal.value.message


def test_the_victim_of_a_refused_wait_may_wait_for_whoever_tried() -> None:
    paper = Paper()
    theirs, mine = paper.spawn("ada"), paper.spawn("eve", "ada")
    with pytest.raises(Forbidden):
        wait(paper, "eve", mine, theirs)
    assert wait(paper, "ada", theirs, mine).result["waits_for"] == [mine]
