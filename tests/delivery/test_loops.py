"""Loops: chains and pairs, whatever is said in whichever order."""

from __future__ import annotations

from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery import loops
from backchannel.delivery.loops import Bounds, Loops
from tests.build import message

BOUNDS = Bounds(max_hops=3, pair_budget=5, window=10.0)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_hops_are_the_longest_way_to_the_first_message(causes: list[int]) -> None:
    known, lengths, ids = Loops(), [], []
    for number, cause in enumerate(causes):
        named = str(ids[cause % number]) if number and cause % 3 else None
        found = known.find(
            "ada", message("memory_update", context_id="main", causation_id=named), (), BOUNDS, 0.0
        )
        expected = lengths[cause % number] + 1 if named else 0
        assert found.hops == expected
        assert (found.reason is not None) == (expected > BOUNDS.max_hops)
        ids.append(uuid4())
        lengths.append(expected)
        known.note(str(ids[-1]), "ada", found.hops)


def test_a_chain_is_not_cut_by_writing_an_id_in_another_way() -> None:
    known, first = Loops(), uuid4()
    known.note(str(first).upper(), "bob", 3)
    for written in (str(first), first.hex, f"urn:uuid:{first}"):
        said = message("memory_update", context_id="main", reply_to=written)
        assert known.find("ada", said, (), BOUNDS, 0.0).hops == 4


def test_of_two_causes_the_longer_chain_counts_and_an_id_that_is_taken_twice_shortens_none() -> None:
    known = Loops()
    known.note("long", "bob", 3)
    known.note("short", "bob", 0)
    known.note("long", "eve", 0)
    both = message("memory_update", context_id="main", causation_id="short", reply_to="long")
    found = known.find("ada", both, (), BOUNDS, 0.0)
    assert found.hops == 4 and found.between == ("bob",)


@given(st.lists(st.tuples(st.sampled_from(["ada", "bob"]), st.floats(0, 3)), max_size=60))
def test_a_pair_may_exchange_its_budget_in_each_window_and_no_more(story: list[tuple[str, float]]) -> None:
    known, now, allowed = Loops(), 0.0, []
    for sender, pause in story:
        now += pause
        other = "bob" if sender == "ada" else "ada"
        called = message("mention_route", target_agents=[other])
        if known.find(sender, called, (), BOUNDS, now).reason is None:
            known.exchanged(sender, [other], now, BOUNDS.window)
            allowed.append(now)
    for start in allowed:
        within = [moment for moment in allowed if start <= moment < start + BOUNDS.window]
        assert len(within) <= 2 * BOUNDS.pair_budget
    assert len(allowed) >= min(len(story), BOUNDS.pair_budget)


def test_alone_with_one_other_only_taking_turns_counts() -> None:
    known = Loops()
    for _ in range(50):
        known.talked("ada", "bob", 0.0, 10.0)
    talk = message("sidebar_message", sidebar_id="tls")
    assert known.find("ada", talk, ("bob",), BOUNDS, 1.0).reason is None
    for _ in range(3):
        known.talked("bob", "ada", 0.0, 10.0)
        known.talked("ada", "bob", 0.0, 10.0)
    assert known.find("ada", talk, ("bob",), BOUNDS, 1.0).reason is not None
    assert known.find("ada", talk, ("carol",), BOUNDS, 1.0).reason is None
    assert known.find("ada", talk, ("bob",), BOUNDS, 11.0).reason is None


def test_emergencies_and_presence_are_never_parked() -> None:
    known = Loops()
    known.note("long", "bob", 99)
    for kind in ("security_emergency", "agent_presence", "critical_failure"):
        assert known.find("ada", message(kind, causation_id="long"), (), BOUNDS, 0.0).reason is None


def test_what_is_remembered_is_bounded() -> None:
    known = Loops()
    for number in range(loops.MOST_KNOWN + 10):
        known.note(str(number), "ada", 1)
    assert known.known("9") is None and known.known("10") is not None
    for number in range(loops.MOST_PAIRS + 10):
        known.exchanged("ada", [f"b{number}"], 0.0, 10.0)
    assert len(known._pairs) == loops.MOST_PAIRS


def test_who_takes_the_id_of_anothers_message_does_not_get_those_parked_who_answer_it() -> None:
    known, asked = Loops(), str(uuid4())
    known.note(asked, "ada", 0)
    known.note(asked, "eve", BOUNDS.max_hops)
    answer = message("memory_update", context_id="main", exchange={"content": "x"}, reply_to=asked)
    found = known.find("bob", answer, (), BOUNDS, 0.0)
    assert (found.hops, found.reason) == (1, None)
