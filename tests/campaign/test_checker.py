"""The checker itself: it accepts what can be, and catches every single thing that was changed."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.campaign.checker import Violation, check
from tests.campaign.history import Diary, Logged, Missed, Sent, To, Visit

AGENTS = ("ada", "bob", "carol")
LANES = ("critical", "high", "normal", "background")
ROOMS = ("main", "tls", "disk")


@dataclass
class World:
    """A log and what everybody was told of it."""

    log: list[Logged]
    diaries: list[Diary]

    def violations(self) -> list[Violation]:
        return check(iter(self.log), self.diaries).violations

    def visits(self) -> Iterator[tuple[Diary, Visit]]:
        for diary in self.diaries:
            for visit in diary.visits:
                yield diary, visit


def played(chance: random.Random, length: int) -> World:
    """A history in which all is well, however unlucky its connections were."""
    log: list[Logged] = []
    members: dict[str, frozenset[str]] = {room: frozenset() for room in ROOMS}
    readers: list[frozenset[str]] = []
    diaries = {name: Diary(name) for name in AGENTS}
    for position in range(1, length + 1):
        sender, lane = chance.choice(AGENTS), chance.choice(LANES)
        to: To = chance.choice(
            [("ctx", chance.choice(ROOMS)), ("inbox", chance.choice(AGENTS)), ("all", "presence")]
        )
        entry = Logged(position, sender, f"m{position}", lane, to, position * 7)
        before = after = members.get(to[1], frozenset())
        if to[0] == "ctx" and to[1] != "main" and chance.random() < 0.4:
            after = members[to[1]] = frozenset(chance.sample(AGENTS, chance.randrange(4)))
            entry = replace(entry, members=after)
        log.append(entry)
        everyone = to[0] == "all" or to[1] == "main"
        readers.append(frozenset(AGENTS) if everyone else before | after if to[0] == "ctx" else {to[1]})
        line = f"only {lane}"
        diaries[sender].sent[f"m{position}"] = Sent(
            f"m{position}", position, line, answer="accepted", position=position, accepted=1
        )
    for diary in diaries.values():
        mine = [entry for entry, who in zip(log, readers, strict=True) if diary.name in who]
        _listen(chance, diary, mine, length)
    return World(log, list(diaries.values()))


def _listen(chance: random.Random, diary: Diary, mine: list[Logged], length: int) -> None:
    """Visits until all is heard; each hears a stretch, urgent things earlier, and sometimes has a gap."""
    reached = begun = 0
    diary.until = length
    while True:
        shown = begun if chance.random() < 0.5 else None
        visit = Visit(begun, shown, owed=chance.randint(0, begun))
        diary.visits.append(visit)
        until = length if chance.random() < 0.3 else chance.randint(begun, length)
        stretch = [entry for entry in mine if begun < entry.position <= until]
        if chance.random() < 0.3:
            stretch = _leave_out(chance, visit, stretch)
        urgent = chance.random() < 0.5
        for entry in sorted(stretch, key=lambda one: LANES.index(one.lane)) if urgent else stretch:
            visit.hear(entry.position, entry.print)
        if until == length:
            return
        reached = until
        begun = chance.randint(begun, reached)


def _leave_out(chance: random.Random, visit: Visit, stretch: list[Logged]) -> list[Logged]:
    low = [entry for entry in stretch if entry.lane == "background"]
    gone = low[: chance.randint(0, len(low))]
    if not gone:
        return stretch
    span = (gone[0].position, gone[-1].position)
    missed = Missed({"background": span}, {"background": len(gone)}, whole=chance.random() < 0.5)
    if missed.whole:
        missed.fetched = array("Q", [entry.position for entry in gone])
    visit.missed.append(missed)
    return [entry for entry in stretch if entry not in gone]


worlds = st.builds(played, st.randoms(use_true_random=False), st.integers(1, 40))
Mutation = Callable[[World, random.Random], bool]
"""Break one thing; False where there is nothing to break."""


@given(worlds)
@settings(max_examples=200, deadline=None)
def test_a_history_in_which_all_is_well_is_accepted(world: World) -> None:
    assert world.violations() == []


def _some_visit(world: World, chance: random.Random) -> tuple[Diary, Visit] | None:
    heard = [(diary, visit) for diary, visit in world.visits() if visit.positions]
    return chance.choice(heard) if heard else None


def loses_a_delivery(world: World, chance: random.Random) -> bool:
    found = _some_visit(world, chance)
    if found is None:
        return False
    diary, visit = found
    position = chance.choice(visit.positions)
    if any(
        position in range(*span) or position == span[1]
        for v in diary.visits
        for m in v.missed
        for span in m.spans.values()
    ):
        return False
    for one in diary.visits:
        while position in one.positions:
            index = one.positions.index(position)
            del one.positions[index], one.prints[index]
    return True


def delivers_twice(world: World, chance: random.Random) -> bool:
    found = _some_visit(world, chance)
    if found is None:
        return False
    _, visit = found
    index = chance.randrange(len(visit.positions))
    visit.hear(visit.positions[index], visit.prints[index])
    return True


def delivers_in_another_order(world: World, chance: random.Random) -> bool:
    entries = {entry.position: entry for entry in world.log}
    for _, visit in world.visits():
        for first in range(len(visit.positions)):
            for second in range(first + 1, len(visit.positions)):
                one, other = entries[visit.positions[first]], entries[visit.positions[second]]
                if (one.lane, one.sender) == (other.lane, other.sender):
                    _swap(visit.positions, first, second)
                    _swap(visit.prints, first, second)
                    return True
    return False


def _swap(column: array[int], first: int, second: int) -> None:
    column[first], column[second] = column[second], column[first]


def delivers_to_somebody_else(world: World, chance: random.Random) -> bool:
    private = [entry for entry in world.log if entry.to[0] == "inbox"]
    if not private:
        return False
    entry = chance.choice(private)
    stranger = next(diary for diary in world.diaries if diary.name != entry.to[1])
    stranger.visits[0].hear(entry.position, entry.print)
    return True


def delivers_what_was_never_stored(world: World, chance: random.Random) -> bool:
    world.diaries[0].visits[-1].hear(len(world.log) + 5, 1)
    return True


def changes_what_it_delivers(world: World, chance: random.Random) -> bool:
    found = _some_visit(world, chance)
    if found is None:
        return False
    found[1].prints[0] += 1
    return True


def goes_back_behind_the_cursor(world: World, chance: random.Random) -> bool:
    for _, visit in world.visits():
        if visit.positions and visit.shown is not None:
            visit.begun = visit.shown = max(visit.positions)
            return True
    return False


def begins_somewhere_else(world: World, chance: random.Random) -> bool:
    for _, visit in world.visits():
        if visit.shown is not None:
            visit.begun, visit.shown = visit.begun, visit.shown + 1
            return True
    return False


def forgets_what_was_acknowledged(world: World, chance: random.Random) -> bool:
    for _, visit in world.visits():
        if visit.shown is None:
            visit.owed = visit.begun + 1
            return True
    return False


def loses_what_it_accepted(world: World, chance: random.Random) -> bool:
    entry = chance.choice(world.log)
    world.log.remove(entry)
    for _, visit in world.visits():
        while entry.position in visit.positions:
            index = visit.positions.index(entry.position)
            del visit.positions[index], visit.prints[index]
    return True


def stores_it_twice(world: World, chance: random.Random) -> bool:
    entry = chance.choice(world.log)
    world.log.append(replace(entry, position=len(world.log) + 1, members=None))
    return True


def accepts_a_repetition(world: World, chance: random.Random) -> bool:
    sent = [one for diary in world.diaries for one in diary.sent.values()]
    chance.choice(sent).accepted += 1
    return True


def stores_what_it_refused(world: World, chance: random.Random) -> bool:
    sent = [one for diary in world.diaries for one in diary.sent.values()]
    chance.choice(sent).answer = "refused"
    return True


def refuses_for_no_reason(world: World, chance: random.Random) -> bool:
    world.diaries[0].sent["r"] = Sent("r", 0, "alone", answer="refused", surprise="internal: no.")
    return True


def stores_in_another_order(world: World, chance: random.Random) -> bool:
    for diary in world.diaries:
        for line in {sent.line for sent in diary.sent.values()}:
            along = [sent for sent in diary.sent.values() if sent.line == line]
            if len(along) > 1:
                along[0].order, along[1].order = along[1].order, along[0].order
                return True
    return False


def accepts_it_elsewhere(world: World, chance: random.Random) -> bool:
    chance.choice([one for diary in world.diaries for one in diary.sent.values()]).position += 1
    return True


def leaves_out_what_is_urgent(world: World, chance: random.Random) -> bool:
    diary = world.diaries[0]
    for visit in diary.visits:
        urgent = [p for p in visit.positions if world.log[p - 1].lane == "critical"]
        if urgent:
            visit.missed.append(Missed({"critical": (urgent[0], urgent[0])}, {"critical": 1}))
            return True
    return False


def counts_a_gap_wrongly(world: World, chance: random.Random) -> bool:
    for _, visit in world.visits():
        if visit.missed:
            visit.missed[0].by_lane["background"] += 1
            return True
    return False


def cannot_fetch_what_a_gap_named(world: World, chance: random.Random) -> bool:
    for _, visit in world.visits():
        for missed in visit.missed:
            if missed.whole:
                missed.fetched.pop()
                return True
    return False


def never_decides_a_command(world: World, chance: random.Random) -> bool:
    world.diaries[0].sent["c"] = Sent("c", 0, "commands", copies=0, answer="accepted", accepted=1)
    return True


def leaves_a_message_unanswered(world: World, chance: random.Random) -> bool:
    chance.choice([one for diary in world.diaries for one in diary.sent.values()]).answer = None
    return True


MUTATIONS: tuple[Mutation, ...] = (
    loses_a_delivery,
    delivers_twice,
    delivers_in_another_order,
    delivers_to_somebody_else,
    delivers_what_was_never_stored,
    changes_what_it_delivers,
    goes_back_behind_the_cursor,
    begins_somewhere_else,
    forgets_what_was_acknowledged,
    loses_what_it_accepted,
    stores_it_twice,
    accepts_a_repetition,
    stores_what_it_refused,
    refuses_for_no_reason,
    stores_in_another_order,
    accepts_it_elsewhere,
    leaves_out_what_is_urgent,
    counts_a_gap_wrongly,
    cannot_fetch_what_a_gap_named,
    never_decides_a_command,
    leaves_a_message_unanswered,
)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.__name__)
@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=40, deadline=None)
def test_a_platform_that_breaks_one_promise_is_caught(mutation: Mutation, seed: int) -> None:
    chance = random.Random(seed)
    world = deepcopy(played(chance, chance.randint(12, 40)))
    assume(mutation(world, chance))
    assert world.violations() != []
