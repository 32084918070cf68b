"""What is said to be stored is stored, once; what is not known to be stored is said to be unknown."""

from __future__ import annotations

import asyncio

import pytest

from backchannel.errors import BackchannelError, Conflict, QueueFull, TooLarge, Unavailable
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.embedded import Server
from backchannel.jetstream.entry import EXPECTED, MSG_ID, Entry, Stored
from backchannel.jetstream.publish import Publisher
from backchannel.jetstream.read import describe, page
from tests.jetstream.faults import PATIENCE, STREAM, crash, eventually, frozen, lived, said


class Outcomes:
    """What was told of each post, in order of telling."""

    def __init__(self) -> None:
        self.told: dict[int, Stored | BackchannelError] = {}

    def post(self, publisher: Publisher, number: int, entry: Entry) -> None:
        def done(outcome: Stored | BackchannelError) -> None:
            assert number not in self.told
            self.told[number] = outcome

        publisher.post(entry, done)


async def ids(connection: Connection) -> list[str]:
    """The message ids in the log, in order."""
    found: list[str] = []
    after, complete = 0, False
    while not complete:
        part = await page(connection, STREAM, after, limit=1000)
        found += [(record.headers or {})[MSG_ID] for record in part.records]
        after, complete = part.last_sequence_scanned, part.done
    return found


async def test_a_repeated_id_is_told_to_be_a_duplicate_with_its_first_place(log: Connection) -> None:
    publisher = Publisher(log)
    first = await publisher.store(said(1))
    await publisher.store(said(2))
    assert await publisher.store(said(1)) == Stored(first.sequence, True, STREAM)
    assert await ids(log) == ["alice:1", "alice:2"]


async def test_pipelined_posts_are_stored_in_order(log: Connection) -> None:
    publisher, outcomes = Publisher(log), Outcomes()
    for number in range(1000):
        outcomes.post(publisher, number, said(number))
    await eventually(lambda: len(outcomes.told) == 1000)
    assert [outcomes.told[number] for number in range(1000)] == [
        Stored(number + 1, False, STREAM) for number in range(1000)
    ]
    assert publisher.free == 1024


async def test_every_post_is_stored_once_through_kill_9_of_the_server(
    nats_server: Server, log: Connection
) -> None:
    publisher, outcomes = Publisher(log, in_flight=256, deadline=60.0), Outcomes()

    async def post_all() -> None:
        for number in range(4000):
            await eventually(lambda: publisher.free > 0)
            outcomes.post(publisher, number, said(number))
            if number % 50 == 0:
                await asyncio.sleep(0.001)

    posting = asyncio.create_task(post_all())
    for mark in (500, 2000):
        await eventually(lambda: len(outcomes.told) >= mark)  # noqa: B023
        await crash(nats_server)
    await posting
    await eventually(lambda: len(outcomes.told) == 4000)
    stored = [outcome for outcome in outcomes.told.values() if isinstance(outcome, Stored)]
    assert len(stored) == 4000
    assert not any(outcome.duplicate for outcome in stored)
    found = await ids(log)
    assert sorted(found) == sorted(f"alice:{number}" for number in range(4000))
    assert {f"alice:{number}": outcomes.told[number].sequence for number in range(4000)} == {  # type: ignore[union-attr]
        name: place for place, name in enumerate(found, start=1)
    }


async def test_a_retry_of_our_own_is_not_told_to_be_a_duplicate(log: Connection) -> None:
    publisher = Publisher(log, deadline=PATIENCE)
    for number in range(5):
        storing = asyncio.create_task(publisher.store(said(number)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # it has been written to the socket; the answer will not be read
        log._keeper.wire.abort()  # type: ignore[union-attr]
        assert not (await storing).duplicate
    assert await ids(log) == [f"alice:{number}" for number in range(5)]


async def test_a_frozen_server_delays_and_loses_nothing(nats_server: Server, log: Connection) -> None:
    publisher, outcomes = Publisher(log, patience=0.1, deadline=PATIENCE), Outcomes()
    with frozen(nats_server):
        for number in range(100):
            outcomes.post(publisher, number, said(number))
        await asyncio.sleep(0.5)  # time enough for several repetitions
        assert not outcomes.told
    await eventually(lambda: len(outcomes.told) == 100)
    assert await ids(log) == [f"alice:{number}" for number in range(100)]


async def test_a_repetition_is_a_duplicate_and_a_first_message_is_none_however_often_it_goes_out(
    nats_server: Server, log: Connection
) -> None:
    publisher, outcomes = Publisher(log, patience=0.1, deadline=PATIENCE), Outcomes()
    first = await publisher.store(said(1))
    with frozen(nats_server):
        outcomes.post(publisher, 1, said(1))
        outcomes.post(publisher, 2, said(2))
        await asyncio.sleep(0.5)  # time enough for several repetitions
    await eventually(lambda: len(outcomes.told) == 2)
    assert outcomes.told[1] == Stored(first.sequence, True, STREAM)
    assert outcomes.told[2] == Stored(first.sequence + 1, False, STREAM)


async def test_what_another_process_stored_before_is_a_duplicate_though_it_goes_out_twice(
    nats_server: Server, log: Connection
) -> None:
    first = await Publisher(log).store(said(1))
    publisher, told = Publisher(log, patience=0.1, deadline=PATIENCE), list[object]()
    with frozen(nats_server):
        publisher.post(said(1), told.append, before=(STREAM, first.sequence))
        await asyncio.sleep(0.5)
    await eventually(lambda: bool(told))
    assert told == [Stored(first.sequence, True, STREAM)]


async def test_what_is_not_confirmed_in_time_is_told(nats_server: Server, log: Connection) -> None:
    publisher = Publisher(log, deadline=0.3)
    nats_server.kill()
    await nats_server.wait()
    with pytest.raises(Unavailable, match="did not confirm"):
        await publisher.store(said(1))
    assert publisher.free == 1024


async def test_a_subject_of_no_stream_is_told(log: Connection) -> None:
    with pytest.raises(Unavailable):
        await Publisher(log, deadline=0.3).store(Entry("nowhere", b"", {MSG_ID: "1"}))


async def test_a_full_publisher_says_so_and_storing_waits(nats_server: Server, log: Connection) -> None:
    publisher, outcomes = Publisher(log, in_flight=3, deadline=PATIENCE), Outcomes()
    with frozen(nats_server):
        for number in range(3):
            outcomes.post(publisher, number, said(number))
        assert publisher.free == 0
        with pytest.raises(QueueFull):
            outcomes.post(publisher, 3, said(3))
        waiting = asyncio.create_task(publisher.store(said(3)))
        await asyncio.sleep(0)
    assert (await waiting).sequence == 4


async def test_a_full_publisher_counts_bytes_too(nats_server: Server, log: Connection) -> None:
    publisher, outcomes = Publisher(log, deadline=PATIENCE), Outcomes()
    with frozen(nats_server), pytest.raises(QueueFull):
        for number in range(200):
            outcomes.post(publisher, number, said(number, text=bytes(1 << 20)))
    await eventually(lambda: publisher.free == 1024)
    assert all(isinstance(outcome, Stored) for outcome in outcomes.told.values())


async def test_a_stale_expectation_is_a_conflict(log: Connection) -> None:
    publisher = Publisher(log)
    await publisher.store(lived("s", 1))
    late = lived("s", 2)
    with pytest.raises(Conflict):
        await publisher.store(Entry(late.subject, b"", {**late.headers, EXPECTED: "0"}))


@pytest.mark.parametrize("written_since", [0, 3])
async def test_a_lost_answer_is_not_taken_for_a_conflict(log: Connection, written_since: int) -> None:
    """A single server answers "wrong last sequence" to the repetition of a fenced message."""
    publisher = Publisher(log)
    fenced = Entry(lived("s", 1).subject, b"1", {MSG_ID: "s:1", EXPECTED: "0"})
    first = await publisher.store(fenced)
    for number in range(written_since):
        await publisher.store(lived("s", 10 + number))
    assert await publisher.store(fenced) == Stored(first.sequence, True, STREAM)


async def test_a_message_that_cannot_be_sent_is_refused_at_once(log: Connection) -> None:
    publisher = Publisher(log)
    with pytest.raises(TooLarge):
        publisher.post(said(1, text=bytes(3 << 20)), print)
    assert publisher.free == 1024


async def test_what_turns_out_not_to_be_publishable_after_an_outage_holds_up_nobody(
    nats_server: Server, log: Connection
) -> None:
    publisher, outcomes = Publisher(log, deadline=PATIENCE), Outcomes()
    nats_server.kill()
    await nats_server.wait()
    await eventually(lambda: not log.up)
    outcomes.post(publisher, 1, said(1, text=bytes(3 << 20)))
    outcomes.post(publisher, 2, said(2))
    await nats_server.start()
    await eventually(lambda: len(outcomes.told) == 2)
    assert isinstance(outcomes.told[1], TooLarge)
    assert isinstance(outcomes.told[2], Stored)


async def test_closing_tells_what_is_still_open(nats_server: Server, log: Connection) -> None:
    publisher, outcomes = Publisher(log), Outcomes()
    with frozen(nats_server):
        outcomes.post(publisher, 1, said(1))
        await publisher.close()
    assert isinstance(outcomes.told[1], Unavailable)
    assert (await describe(log, STREAM)).name == STREAM
