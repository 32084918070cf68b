"""Circles of waits, whatever the graph."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from backchannel.domain.waits import Wait, circle

AGENTS = ("ada", "bob", "carol", "dan", "eve")
edges = st.lists(st.tuples(st.sampled_from(AGENTS), st.sampled_from(AGENTS)), max_size=12)


def waits(pairs: list[tuple[str, str]]) -> list[Wait]:
    return [Wait(str(number), one, (other,), 10.0) for number, (one, other) in enumerate(pairs)]


@given(edges, st.sampled_from(AGENTS), st.sampled_from(AGENTS))
def test_a_wait_is_refused_if_and_only_if_it_closes_a_circle(
    pairs: list[tuple[str, str]], waiter: str, other: str
) -> None:
    reached, grown = {other}, True
    while grown:
        more = {to for start, to in pairs if start in reached} - reached
        reached |= more
        grown = bool(more)
    found = circle(waiter, [other], waits(pairs), 0.0)
    assert (found is not None) == (waiter in reached)
    if found is not None:
        assert found[0] == found[-1] == waiter and found[1] == other
        assert all(step in pairs for step in pairwise(found[1:]))


@given(edges)
def test_waits_that_are_let_in_one_after_the_other_never_form_a_circle(pairs: list[tuple[str, str]]) -> None:
    let_in: list[Wait] = []
    for wait in waits(pairs):
        if circle(wait.waiter, wait.on, let_in, 0.0) is None:
            let_in.append(wait)
    for wait in let_in:
        others = [one for one in let_in if one is not wait]
        assert circle(wait.waiter, wait.on, others, 0.0) is None


def test_a_wait_that_has_lapsed_is_none_and_one_free_agent_of_several_is_enough() -> None:
    there = [Wait("1", "bob", ("ada",), 5.0)]
    assert circle("ada", ["bob"], there, 4.0) == ("ada", "bob", "ada")
    assert circle("ada", ["bob"], there, 5.0) is None
    assert circle("ada", ["bob", "carol"], there, 4.0) is None
    assert circle("ada", [], there, 4.0) is None
