"""Overtaking never changes the order of one sender's own commands, and lets nobody wait behind a heap."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backchannel.jetstream.record import Record
from backchannel.service.overtake import MOST_KEPT, SHARE, Line

SENDERS = ("ann", "bob", "mal")


def command(sequence: int, sender: str, size: int = 1) -> Record:
    subject = f"bc.main.cmd.normal.{sender}.sidebar_spawn"
    return Record(sequence, subject, b"x" * size, b"")


@given(
    st.lists(st.sampled_from(SENDERS), min_size=1, max_size=80),
    st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=60),
)
def test_what_may_overtake_is_the_first_undecided_command_of_its_sender(
    lane: list[str], steps: list[tuple[int, bool]]
) -> None:
    line, undecided = Line(), dict(enumerate(lane, 1))
    looked = 0
    for ahead, decides in steps:
        for _ in range(ahead):
            if looked < len(lane):
                looked += 1
                line.put(command(looked, lane[looked - 1]), decided=looked not in undecided)
        if not undecided:
            break
        head = min(undecided)
        if looked < head:
            return  # whoever looks begins anew then
        line.advance(head)
        for record in line.others(lane[head - 1]):
            sender = lane[record.sequence - 1]
            assert record.sequence == min(number for number, name in undecided.items() if name == sender)
            if decides:
                del undecided[record.sequence]
            else:
                line.skipped.add(sender)
            line.take(sender)
        del undecided[head]


def test_one_command_behind_a_heap_of_anothers_goes_before_it() -> None:
    line = Line()
    for sequence in range(1, 1000):
        line.put(command(sequence, "mal"), decided=False)
    line.put(command(1000, "bob"), decided=False)
    line.advance(1)
    assert [record.sequence for record in line.others("mal")] == [1000]


def test_nobody_goes_before_the_few_commands_of_another() -> None:
    line = Line()
    for sequence in range(1, SHARE):
        line.put(command(sequence, "ann"), decided=False)
    line.put(command(SHARE, "bob"), decided=False)
    assert not line.others("ann")


def test_what_is_kept_in_hand_is_bounded_in_bytes() -> None:
    line = Line()
    for number in range(40):
        line.put(command(number + 1, f"a{number}", 1 << 20), decided=False)
    assert line.kept == sum(len(one.payload) for one in line.firsts.values()) <= MOST_KEPT
    line.advance(40)
    assert line.kept == 0
    assert not line.firsts
