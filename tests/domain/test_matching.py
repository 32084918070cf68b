"""Who is chosen for a specialty, and what is said about it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.domain.matching import Candidate, Match, match
from backchannel.errors import NotFound

WORKS = frozenset({"debugging"})


def able(name: str, **fields: object) -> Candidate:
    return Candidate(
        **{
            "agent_id": name,
            "specialties": WORKS,
            "vouched": fields.get("specialties", WORKS),
            "online": True,
            **fields,
        }
    )  # type: ignore[arg-type]


def chosen(*candidates: Candidate, named: tuple[str, ...] = ("ada",)) -> Match:
    [found] = match(["debugging"], named, candidates, "ada")
    return found


def test_the_free_go_before_the_busy_and_those_before_the_absent() -> None:
    away, busy = able("a-away", online=False), able("b-busy", availability="busy")
    free = able("c-free", load=9)
    assert chosen(away, busy, free).agent_id == "c-free"
    assert chosen(away, busy).agent_id == "b-busy"
    assert chosen(away).agent_id == "a-away"


def test_who_works_well_with_the_asker_goes_before_who_has_less_to_do() -> None:
    idle, friend = able("idle"), able("friend", load=5, prefers=frozenset({"ada"}))
    assert chosen(idle, friend).agent_id == "friend"
    asker = Candidate("ada", prefers=frozenset({"liked"}))
    assert chosen(idle, able("liked", load=5), asker).agent_id == "liked"


def test_the_least_loaded_goes_first_and_the_name_decides_what_is_equal() -> None:
    assert chosen(able("a", load=2), able("c", load=1), able("b", load=1)).agent_id == "b"


def test_who_says_it_is_offline_is_never_chosen() -> None:
    with pytest.raises(NotFound, match=r"debugging.*offline \(bob\)"):
        chosen(able("bob", availability="offline"))


def test_nobody_at_all_is_said_with_the_specialty() -> None:
    with pytest.raises(NotFound, match="debugging: no agent of the group has it") as refusal:
        chosen(Candidate("bob"))
    assert refusal.value.field == "specialties"


def test_who_is_named_already_serves_and_brings_nobody_else() -> None:
    found = chosen(able("bob"), able("carol"), named=("ada", "bob"))
    assert (found.agent_id, found.brought) == ("bob", False)
    assert found.reason == "bob takes part already and has debugging."


def test_who_was_chosen_for_one_serves_for_the_next() -> None:
    both = able("bob", specialties=frozenset({"debugging", "forensics"}), load=9)
    found = match(["debugging", "forensics", "debugging"], ["ada"], [both, able("zed", load=10)], "ada")
    assert [(one.agent_id, one.specialty, one.brought) for one in found] == [
        ("bob", "debugging", True),
        ("bob", "forensics", False),
    ]


def test_who_asks_wants_somebody_else_and_serves_itself_only_in_need() -> None:
    assert chosen(able("ada"), able("bob", load=50)).agent_id == "bob"
    alone = chosen(able("ada"))
    assert (alone.agent_id, alone.brought) == ("ada", False)
    assert "nobody else" in alone.reason


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (
            able("bob"),
            "bob has debugging, is online and available, is in no other open sidebar;"
            " there was no other choice.",
        ),
        (
            able("bob", load=3, prefers=frozenset({"ada"})),
            "bob has debugging, is online and available, prefers to work with ada,"
            " is in 3 other open sidebars; there was no other choice.",
        ),
        (
            able("bob", availability="busy", load=1),
            "bob has debugging, is online and busy, is in 1 other open sidebar; nobody free has it.",
        ),
        (
            able("bob", online=False),
            "bob has debugging, is not connected and available, is in no other open sidebar;"
            " nobody free has it.",
        ),
    ],
)
def test_the_reason_says_what_counted(candidate: Candidate, reason: str) -> None:
    assert chosen(candidate).reason == reason


def test_an_entry_of_the_roster_that_says_little_is_somebody_without_specialties() -> None:
    assert Candidate.of({"agent_id": "bob"}) == Candidate("bob")


SPECIALTIES = ["a", "b", "c"]
CANDIDATES = st.lists(
    st.builds(
        Candidate,
        agent_id=st.sampled_from([f"agent{number}" for number in range(8)]),
        specialties=st.frozensets(st.sampled_from(SPECIALTIES)),
        vouched=st.frozensets(st.sampled_from(SPECIALTIES)),
        online=st.booleans(),
        availability=st.sampled_from(["available", "busy", "offline"]),
        prefers=st.frozensets(st.sampled_from(["agent0", "agent1"])),
        load=st.integers(0, 5),
    ),
    unique_by=lambda candidate: candidate.agent_id,
)


@given(st.lists(st.sampled_from(SPECIALTIES)), CANDIDATES, st.randoms())
def test_every_specialty_is_covered_by_somebody_fit_whatever_order_the_directory_has(
    wanted: list[str], candidates: list[Candidate], chance: object
) -> None:
    known = {candidate.agent_id: candidate for candidate in candidates}
    try:
        found = match(wanted, ["agent0"], candidates, "agent0")
    except NotFound:
        return
    assert [one.specialty for one in found] == list(dict.fromkeys(wanted))
    for one in found:
        who = known[one.agent_id]
        assert one.specialty in (who.vouched if one.brought else who.specialties | who.vouched)
        assert not one.brought or known[one.agent_id].availability != "offline"
    brought = [one.agent_id for one in found if one.brought]
    assert len(brought) == len(set(brought)) and "agent0" not in brought
    chance.shuffle(candidates)  # type: ignore[attr-defined]
    assert match(wanted, ["agent0"], candidates, "agent0") == found
