"""Handled, claimed, delegated, curated: the rules alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.acknowledgement import MOST_NAMED, named
from backchannel.domain.curator import MOST_LISTED, Received, Update, look, still_open, to_tell
from backchannel.domain.delegation import MOST, delegates
from backchannel.domain.handling import Claim, Stage, handled
from backchannel.domain.matching import Candidate
from backchannel.domain.stages import state_of
from backchannel.errors import Conflict
from backchannel.protocol.attention import Handled
from backchannel.protocol.subject import InInbox
from tests.build import message

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
AGENTS = st.sampled_from(["ada", "bob", "cleo", "dan", "eve"])
STATUSES = st.sampled_from(["done", "failed", "deferred"])
M = "0f0e0d0c-0b0a-4908-8706-050403020100"


def said(status: str) -> Handled:
    found = message("handled", handles=M, status=status)
    assert isinstance(found, Handled)
    return found


def after(claim: Claim, agent: str, status: str) -> Claim:
    """The claim once somebody has spoken; unchanged if it was refused."""
    try:
        decision = handled(said(status), agent, "now", "ada", None, [claim])
    except Conflict:
        return claim
    for mark in decision.marks:
        if mark.what.startswith("claim."):
            return Claim.read(claim.target, mark.content)
    return claim


@given(st.lists(st.tuples(AGENTS, STATUSES), max_size=30))
def test_what_was_taken_is_changed_by_nobody_but_who_took_it(words: list[tuple[str, str]]) -> None:
    claim = Claim("bob", ("cleo", "dan"))
    for agent, status in words:
        former, claim = claim, after(claim, agent, status)
        if former.by is not None and agent != former.by:
            assert claim == former
        if claim.by != former.by:
            assert claim.by is None if status == "failed" else claim.by == agent
        assert claim.by in (None, "bob", "cleo", "dan")


@given(AGENTS, STATUSES, AGENTS)
def test_nobody_is_told_of_its_own_word_and_the_sender_of_every_failure(
    agent: str, status: str, sender: str
) -> None:
    decision = handled(said(status), agent, "now", sender, None, [])
    told = {out.to.agent_id for out in decision.events if isinstance(out.to, InInbox)}
    assert told == ({sender} - {agent} if status == "failed" else set())


def test_the_same_word_twice_is_one() -> None:
    word = said("done")
    assert handled(word, "bob", "now", "ada", Stage("done", command=str(word.message_id)), []).repeated


UPDATES = st.lists(st.integers(0, 100), max_size=150).map(
    lambda ages: [
        Update(f"m{place}", "mention_route", "ada", place, NOON - timedelta(seconds=age))
        for place, age in enumerate(sorted(ages, reverse=True), 1)
    ]
)


@given(UPDATES, st.floats(1, 100))
def test_every_open_update_is_asked_for_or_looked_at_again(updates: list[Update], timeout: float) -> None:
    found = look(updates, NOON, timeout)
    rest = updates[len(found.late) :]
    assert list(found.late) == updates[: len(found.late)] and len(found.late) <= MOST_LISTED
    assert all(update.stored + timedelta(seconds=timeout) <= NOON for update in found.late)
    assert (found.at is not None) == bool(rest)
    if found.at is not None and len(found.late) < MOST_LISTED:
        assert found.at > NOON
        assert found.at == rest[0].stored + timedelta(seconds=timeout)


@given(UPDATES, st.integers(0, 200), st.sets(st.integers(0, 200)), st.sets(st.integers(0, 200)))
def test_what_was_acknowledged_or_answered_is_never_asked_for(
    updates: list[Update], position: int, names: set[int], answers: set[int]
) -> None:
    received = Received({"primary": position, "observer": 10_000}, frozenset(f"m{name}" for name in names))
    found = still_open(updates, "bob", received, {f"m{name}" for name in answers})
    assert {update.sequence for update in found} == {
        update.sequence for update in updates if update.sequence > position
    } - names - answers
    assert still_open(updates, "ada", received, set()) == []


def test_a_coordinator_is_told_of_its_own_sidebar_alone_and_a_supervisor_of_all() -> None:
    missing = [{"message_id": "1", "context_id": "x"}, {"message_id": "2", "context_id": None}]
    told = to_tell(missing, "bob", "sue", {"x": "cleo"})
    assert told == {"sue": missing, "cleo": missing[:1]}
    assert to_tell(missing, "bob", None, {"x": "bob"}) == {}


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        AGENTS,
        st.frozensets(st.sampled_from(["tls", "disks"])),
        st.booleans(),
        st.sampled_from(["available", "busy"]),
        vouched=st.frozensets(st.sampled_from(["tls", "disks"])),
    ),
    max_size=8,
)


@given(CANDIDATES, st.sets(AGENTS), st.none() | st.sets(AGENTS))
def test_only_free_agents_with_a_common_specialty_who_may_see_it_are_asked(
    known: list[Candidate], besides: set[str], among: set[str] | None
) -> None:
    away = Candidate("bob", frozenset({"tls"}))
    chosen = delegates("bob", [*known, away], besides=besides, among=among)
    last = {candidate.agent_id: candidate for candidate in known}
    assert len(chosen) <= MOST and len(set(chosen)) == len(chosen)
    for name in chosen:
        assert last[name].free and "tls" in last[name].vouched and name not in besides | {"bob"}
        assert among is None or name in among


def test_nobody_is_asked_in_place_of_who_is_here() -> None:
    here = Candidate("bob", frozenset({"tls"}), online=True)
    other = Candidate("eve", frozenset({"tls"}), online=True, vouched=frozenset({"tls"}))
    assert delegates("bob", [here, other], besides=(), among=None) == ()


@pytest.mark.parametrize(
    ("row", "connected", "state"),
    [
        ({"handled": {"status": "done"}, "received": True, "taken_by": None}, True, "done"),
        ({"handled": None, "received": True, "taken_by": "eve", "agent_id": "bob"}, True, "taken"),
        ({"handled": None, "received": True, "taken_by": None, "agent_id": "bob"}, False, "received"),
        ({"handled": None, "received": False, "taken_by": None, "agent_id": "bob"}, True, "sent"),
        ({"handled": None, "received": False, "taken_by": None, "agent_id": "bob"}, False, "waiting"),
    ],
)
def test_the_farthest_stage_counts(row: dict[str, object], connected: bool, state: str) -> None:
    assert state_of(row, connected=connected) == state


@given(st.lists(st.lists(st.integers(0, 2000).map(str), max_size=100), max_size=20))
def test_the_newest_names_are_remembered_once_each_and_never_too_many(words: list[list[str]]) -> None:
    known: tuple[str, ...] = ()
    for word in words:
        known = named(known, word)
        assert len(known) == len(set(known)) <= MOST_NAMED
        if word:
            assert known[-1] == word[-1]
