"""What a fork inherits: against an oracle that goes through the log and knows who was in when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.audience import MOST_STAYS
from backchannel.errors import BackchannelError
from backchannel.protocol.sidebar import SidebarFork
from tests.build import message
from tests.domain.paper import Paper

STEPS = st.lists(
    st.tuples(st.sampled_from(["ada", "bob", "eve"]), st.booleans(), st.integers(0, 2)), max_size=25
)


def heard(paper: Paper, room: str, agent: str) -> set[int]:
    """The positions at which an agent was in: from what brought it in up to what took it out."""
    found, members = set(), frozenset[str]()
    for at, (context, event) in enumerate(paper.log, 1):
        if context == room and getattr(event, "members", None) is not None:
            before, members = members, frozenset(event.members)  # type: ignore[attr-defined]
            if agent in before | members:
                found.add(at)
        elif agent in members:
            found.add(at)
    return found


@given(STEPS)
def test_who_left_forks_exactly_what_it_was_there_for(steps: list[tuple[str, bool, int]]) -> None:
    paper = Paper()
    room = paper.spawn("ada", "bob", inherit={"depth": 0})
    for agent, comes, others in steps:
        for _ in range(others):  # the log goes on elsewhere
            paper.spawn("zoe")
        try:
            if comes:
                paper.ask("ada", message("sidebar_invite", sidebar_id=room, agents=[agent]))
            else:
                paper.ask(agent, message("sidebar_leave", sidebar_id=room))
        except BackchannelError:
            continue
    sidebar, head = paper.sidebar(room), len(paper.log)
    assert sidebar is not None
    for agent in ("ada", "bob", "eve"):
        expected = set(range(1, head + 1)) if sidebar.has(agent) else heard(paper, room, agent)
        try:
            made = paper.ask(agent, message("sidebar_fork", original_sidebar_id=room, participants=[]))
        except BackchannelError:
            assert not expected
            continue
        ranges = [
            (int(one["from"].partition(".")[2]), int(one["to"].partition(".")[2]))
            for one in made.result["inherited_context"]
        ]
        head = len(paper.log) if sidebar.has(agent) else head
        covered = {at for start, end in ranges for at in range(start + 1, end + 1)}
        assert covered & set(range(1, sidebar.sequence + 1)) == expected & set(range(1, sidebar.sequence + 1))
        assert sidebar.has(agent) or covered == expected
        assert ranges == sorted(ranges, reverse=True)


@given(st.sampled_from(["bob", "otto"]), st.booleans())
def test_a_fork_from_outside_is_told_in_the_original_and_moves_nothing(who: str, ended: bool) -> None:
    paper = Paper()
    room = paper.spawn("ada", "bob")
    paper.ask("bob", message("sidebar_leave", sidebar_id=room))
    if ended:
        paper.ask("ada", message("sidebar_archive", sidebar_id=room))
    before = paper.sidebar(room)
    command = message("sidebar_fork", original_sidebar_id=room, fork_reason="SECRET", participants=[])
    decision = paper.ask(who, command, frozenset({room}))
    told = [out.message for out in decision.events if isinstance(out.message, SidebarFork)]
    assert len(told) == 2 and told[1].original_sidebar_id == room and "SECRET" not in str(told[1])
    after = paper.sidebar(room)
    assert before is not None and after is not None
    assert (after.last_activity, after.acted, after.members, after.status, after.applied, after.warned) == (
        before.last_activity,
        before.acted,
        before.members,
        before.status,
        before.applied,
        before.warned,
    )
    assert [timer.key for timer in decision.timers] == [decision.result["sidebar_id"]]


def test_who_came_and_went_without_end_forks_the_newest_of_it() -> None:
    paper = Paper()
    room = paper.spawn("ada", "bob")
    for _ in range(MOST_STAYS + 5):
        paper.ask("bob", message("sidebar_leave", sidebar_id=room))
        paper.ask("bob", message("sidebar_join", sidebar_id=room))
    paper.ask("bob", message("sidebar_leave", sidebar_id=room))
    made = paper.ask("bob", message("sidebar_fork", original_sidebar_id=room))
    of_room = [one for one in made.result["inherited_context"] if one["context_id"] == room]
    assert len(of_room) == MOST_STAYS
