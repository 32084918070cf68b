"""A commit is all there or not at all, and only if nobody wrote behind its fences."""

from __future__ import annotations

import asyncio

import pytest

from backchannel.errors import BackchannelError, Conflict, Internal, TooLarge
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.embedded import Server
from backchannel.jetstream.entry import EXPECTED, EXPECTED_SUBJECT, Entry, Fence, covers, fenced
from backchannel.jetstream.publish import Publisher, Stored
from backchannel.jetstream.read import last
from tests.jetstream.faults import PATIENCE, STREAM, crash, eventually, lived, said
from tests.jetstream.test_publish import ids

LIFE = "bc.main.evt.ctx.s.*.life"


async def test_a_commit_lies_in_one_piece(log: Connection) -> None:
    publisher = Publisher(log)
    stored = await publisher.commit([lived("s", 1), said(1), said(2)], [Fence(LIFE, 0)])
    assert stored == Stored(3, False, STREAM)
    assert await ids(log) == ["s:1", "alice:1", "alice:2"]


async def test_a_stale_fence_stops_all_of_it(log: Connection) -> None:
    publisher = Publisher(log)
    await publisher.store(lived("s", 1, "critical"))
    with pytest.raises(Conflict):
        await publisher.commit([said(1), lived("s", 2)], [Fence(LIFE, 0)])
    assert await ids(log) == ["s:1"]
    await publisher.commit([said(1), lived("s", 2)], [Fence(LIFE, 1)])
    assert await ids(log) == ["s:1", "alice:1", "s:2"]


async def test_a_single_message_is_fenced_as_well(log: Connection) -> None:
    publisher = Publisher(log)
    assert (await publisher.commit([lived("s", 1)], [Fence(LIFE, 0)])).sequence == 1
    with pytest.raises(Conflict):
        await publisher.commit([lived("s", 2)], [Fence(LIFE, 0)])
    with pytest.raises(Conflict):
        await publisher.commit([said(1)], [Fence(LIFE, 0)])


async def test_a_subject_may_be_written_twice_behind_its_own_fence(log: Connection) -> None:
    publisher = Publisher(log)
    first, second = lived("s", 1), lived("s", 2)
    stored = await publisher.commit([first, second], [Fence(first.subject, 0)])
    assert stored.sequence == 2
    third, fourth = lived("s", 3), lived("s", 4)
    assert (await publisher.commit([third, fourth], [Fence(LIFE, 2)])).sequence == 4


async def test_several_fences_hold_together(log: Connection) -> None:
    publisher = Publisher(log)
    child, parent = lived("child", 1), lived("parent", 1)
    fences = [Fence(child.subject, 0), Fence(parent.subject, 0)]
    await publisher.commit([parent, child, said(1)], fences)
    assert await ids(log) == ["parent:1", "child:1", "alice:1"]
    with pytest.raises(Conflict):
        await publisher.commit(
            [lived("parent", 2), lived("child", 2)], [Fence(parent.subject, 1), Fence(child.subject, 0)]
        )
    assert len(await ids(log)) == 3


async def test_a_commit_made_twice_has_no_second_effect(log: Connection) -> None:
    publisher = Publisher(log)
    entries, fences = [lived("s", 1), said(1)], [Fence(LIFE, 0)]
    first = await publisher.commit(entries, fences)
    for number in range(2, 5):
        await publisher.store(said(number))
        await publisher.store(lived("s", number))
    assert await publisher.commit(entries, fences) == Stored(first.sequence, True, STREAM)
    assert len(await ids(log)) == 8


async def test_of_many_writers_behind_one_fence_exactly_one_wins(
    nats_server: Server, log: Connection
) -> None:
    async with await Connection.open(nats_server.address(), name="other") as other:
        publishers = [Publisher(log), Publisher(other)]

        async def write(number: int) -> bool:
            entries = [lived("s", number), said(number)]
            try:
                await publishers[number % 2].commit(entries, [Fence(LIFE, 0)])
            except Conflict:
                return False
            return True

        won = await asyncio.gather(*(write(number) for number in range(20)))
        assert sum(won) == 1
        assert len(await ids(log)) == 2


async def test_more_commits_at_once_than_the_server_takes_all_get_through(
    nats_server: Server, log: Connection
) -> None:
    others = [await Connection.open(nats_server.address(), name=f"{number}") for number in range(4)]
    try:
        publishers = [Publisher(other, deadline=60.0) for other in others]
        await asyncio.gather(
            *(
                publisher.commit([said(2 * number, name), said(2 * number + 1, name)])
                for name, publisher in zip("abcd", publishers, strict=True)
                for number in range(30)
            )
        )
    finally:
        for other in others:
            await other.close()
    assert len(await ids(log)) == 240


async def test_kill_9_leaves_no_commit_half_done(nats_server: Server, log: Connection) -> None:
    publisher = Publisher(log, deadline=60.0)
    told: dict[int, Stored | BackchannelError] = {}
    stop = asyncio.Event()

    async def commit_on(writer: int) -> None:
        number = writer
        while not stop.is_set():
            entries = [said(100 * number + part, "batch") for part in range(10)]
            try:
                told[number] = await publisher.commit(entries)
            except BackchannelError as error:
                told[number] = error
            number += 4

    writers = [asyncio.create_task(commit_on(writer)) for writer in range(4)]
    for round_number in range(3):
        await eventually(lambda: len(told) >= 15 * (round_number + 1))  # noqa: B023
        await crash(nats_server)
    stop.set()
    async with asyncio.timeout(PATIENCE * 2):
        await asyncio.gather(*writers)
    found = await ids(log)
    assert len(found) == len(set(found))
    batches = [
        {int(name.split(":")[1]) // 100 for name in found[at : at + 10]} for at in range(0, len(found), 10)
    ]
    assert all(len(numbers) == 1 for numbers in batches)  # ten in a row, never mixed, never fewer
    assert {number for numbers in batches for number in numbers} == {
        number for number, outcome in told.items() if isinstance(outcome, Stored)
    }
    newest = await last(log, STREAM, ">")
    assert newest is not None
    assert newest.sequence == len(found)


async def test_what_cannot_be_committed_is_refused(log: Connection) -> None:
    publisher = Publisher(log)
    with pytest.raises(TooLarge, match="1000 at most"):
        await publisher.commit([said(number) for number in range(1001)])
    with pytest.raises(Internal, match="more fences"):
        await publisher.commit([said(1)], [Fence("a", 0), Fence("b", 0)])
    with pytest.raises(Internal, match="nothing to commit"):
        await publisher.commit([])


def carried(entries: list[Entry]) -> list[tuple[str, str] | None]:
    """Subject and sequence of the fence that each entry carries."""
    return [
        (entry.headers.get(EXPECTED_SUBJECT, entry.subject), entry.headers[EXPECTED])
        if EXPECTED in entry.headers
        else None
        for entry in entries
    ]


def entry(subject: str) -> Entry:
    return Entry(subject, b"", {})


def test_a_fence_stands_no_later_than_the_first_message_on_its_subject() -> None:
    entries = [entry("b"), entry("a"), entry("b")]
    assert carried(fenced(entries, [Fence("a", 1), Fence("b", 2)])) == [("b", "2"), ("a", "1"), None]
    assert carried(fenced(entries, [Fence("x.*", 7), Fence("b", 2)])) == [("b", "2"), ("x.*", "7"), None]


def test_two_subjects_that_both_must_come_first_are_refused() -> None:
    with pytest.raises(Internal):
        fenced([entry("a")], [Fence("a", 1), Fence("x", 2)])


@pytest.mark.parametrize(
    ("pattern", "subject", "matches"),
    [
        ("a.*.c", "a.b.c", True),
        ("a.*.c", "a.b.d", False),
        ("a.*", "a.b.c", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        (">", "a", True),
        ("a.b", "a.b", True),
    ],
)
def test_filters_match_as_nats_does(pattern: str, subject: str, matches: bool) -> None:
    assert covers(pattern, subject) is matches
