"""Who sees a context, from which event on and up to which."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.audience import CLOSED, Change, Life, Membership, life
from backchannel.domain.sidebar import TERMINAL
from backchannel.protocol.subject import InContext, InInbox, ToEveryone

AGENTS = ["ada", "bob", "carol", "dan"]
ROOMS = ["logins", "tls", "main"]
HISTORY = st.lists(
    st.tuples(st.sampled_from(ROOMS), st.one_of(st.none(), st.frozensets(st.sampled_from(AGENTS)))),
    max_size=40,
)


def told(history: list[tuple[str, frozenset[str] | None]]) -> Membership:
    membership = Membership()
    for sequence, (room, members) in enumerate(history, 1):
        membership.fold(sequence, room, Life("active", members))
    return membership


def members_at(history: list[tuple[str, frozenset[str] | None]], room: str, position: int) -> frozenset[str]:
    """Who is in a room after the event at a position, read from the start as slowly as can be."""
    found: frozenset[str] = frozenset()
    for where, members in history[:position]:
        if where == room and members is not None:
            found = members
    return found


@given(HISTORY)
def test_an_agent_sees_a_sidebar_from_the_event_that_brought_it_in_to_the_one_that_took_it_out(
    history: list[tuple[str, frozenset[str] | None]],
) -> None:
    membership = told(history)
    for agent in AGENTS:
        for position in range(1, len(history) + 1):
            before = members_at(history, "logins", position - 1)
            after = members_at(history, "logins", position)
            # Between two events of its life nothing changes; at the event itself both count.
            expected = agent in after or (agent in before and history[position - 1][0] == "logins")
            assert membership.sees(agent, InContext("logins", "talk"), position) == expected


@given(HISTORY)
def test_the_present_agrees_with_the_past(history: list[tuple[str, frozenset[str] | None]]) -> None:
    membership, now = told(history), len(history)
    for agent in AGENTS:
        inside = {room for room in ROOMS if room != "main" and agent in members_at(history, room, now)}
        assert set(membership.contexts_of(agent)) == inside
    for room in ("logins", "tls"):
        assert membership.members(room) == members_at(history, room, now)


@given(HISTORY, st.data())
def test_an_event_told_twice_changes_nothing(
    history: list[tuple[str, frozenset[str] | None]], data: st.DataObject
) -> None:
    membership = told(history)
    for sequence, (room, members) in enumerate(history, 1):
        if data.draw(st.booleans()):
            assert membership.fold(sequence, room, Life("failed", members)) == Change()
    for room in ("logins", "tls"):
        assert membership.members(room) == members_at(history, room, len(history))


@given(HISTORY)
def test_a_change_names_exactly_who_came_and_who_went(
    history: list[tuple[str, frozenset[str] | None]],
) -> None:
    membership = Membership()
    for sequence, (room, members) in enumerate(history, 1):
        before = membership.members(room)
        change = membership.fold(sequence, room, Life(None, members))
        assert membership.members(room) == (before | change.joined) - change.left
        assert not change.joined & before
        assert change.left <= before


def test_everyone_sees_main_and_broadcasts_and_only_the_owner_its_inbox() -> None:
    membership = Membership()
    assert membership.sees("ada", InContext("main", "memory"), 1)
    assert membership.sees("ada", ToEveryone("presence"), 1)
    assert membership.sees("ada", InInbox("ada", "mention"), 1)
    assert not membership.sees("ada", InInbox("bob", "mention"), 1)


def test_nobody_sees_a_sidebar_that_is_not_known() -> None:
    membership = Membership()
    assert not membership.sees("ada", InContext("logins", "talk"), 1)
    assert not membership.knows("logins")
    assert membership.knows("main")


def test_a_token_that_names_a_sidebar_reads_all_of_it() -> None:
    membership = told([("logins", frozenset({"bob"}))])
    assert membership.sees("ada", InContext("logins", "talk"), 1, access={"logins"})
    assert not membership.sees("ada", InContext("tls", "talk"), 1, access={"logins"})


def test_a_sidebar_that_has_ended_takes_no_more_messages() -> None:
    membership = told([("logins", frozenset({"bob"}))])
    assert membership.is_open("logins")
    membership.fold(9, "logins", Life("merged", frozenset({"bob"})))
    assert not membership.is_open("logins")
    assert membership.members("logins") == {"bob"}
    assert membership.is_open("main")


def test_what_counts_as_ended_is_the_same_here_and_in_the_domain() -> None:
    assert {status.value for status in TERMINAL} == set(CLOSED)


def test_an_event_of_a_wrong_shape_says_nothing() -> None:
    assert life({"status": 7, "members": "ada"}) == Life(None, None)
    assert life({}) == Life(None, None)
    assert life({"status": "paused", "members": ["ada"]}) == Life("paused", frozenset({"ada"}))
