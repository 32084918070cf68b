"""A tail hands over every record once and in order, and says when that is no longer possible."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from backchannel.errors import NotFound, Unavailable
from backchannel.jetstream.answer import api
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.embedded import Server
from backchannel.jetstream.entry import MSG_ID, Entry
from backchannel.jetstream.publish import Publisher
from backchannel.jetstream.read import Record, StreamFacts, describe
from backchannel.jetstream.tail import Tail
from backchannel.jetstream.topology import provision
from tests.jetstream.faults import PATIENCE, STREAM, crash, eventually, frozen, lived, said

Follow = Callable[..., Awaitable[Tail]]


@pytest.fixture
async def follow(log: Connection) -> AsyncIterator[Follow]:
    """Starts tails over the log and stops them at the end."""
    tails: list[Tail] = []

    async def start(
        on_record: Callable[[Record], None],
        after: int = 0,
        filters: tuple[str, ...] = (),
        on_replaced: Callable[[StreamFacts], None] | None = None,
    ) -> Tail:
        tail = Tail(log, STREAM, after=after, on_record=on_record, filters=filters, on_replaced=on_replaced)
        tails.append(tail)
        await tail.start()
        return tail

    yield start
    for tail in tails:
        await tail.stop()


@contextlib.contextmanager
def frozen_tail(tail: Tail) -> Iterator[None]:
    """Looks at nothing for a while, as if the others were much quicker."""
    survey = tail._survey

    async def not_now() -> None:
        raise Unavailable("not now")

    tail._survey = not_now  # type: ignore[method-assign]
    try:
        yield
    finally:
        tail._survey = survey  # type: ignore[method-assign]


async def consumers(connection: Connection) -> list[str]:
    answer = await api(connection, f"CONSUMER.NAMES.{STREAM}")
    return list(answer.get("consumers") or ())


async def test_a_record_is_handed_over_as_it_was_stored(log: Connection, follow: Follow) -> None:
    got: list[Record] = []
    headers = {MSG_ID: "alice:1", "Bc-Type": "sidebar_message"}
    await Publisher(log).store(Entry("bc.main.evt.all.normal.broadcast", b"content", headers))
    tail = await follow(got.append)
    await tail.reached(1, PATIENCE)
    [record] = got
    assert (record.sequence, record.subject) == (1, "bc.main.evt.all.normal.broadcast")
    assert (record.payload, record.headers) == (b"content", headers)
    assert record.time.endswith("Z")
    assert tail.live


async def test_kill_9_in_mid_stream_loses_and_repeats_nothing(
    nats_server: Server, log: Connection, follow: Follow
) -> None:
    got: list[int] = []
    tail = await follow(lambda record: got.append(record.sequence))
    publisher = Publisher(log, deadline=60.0)

    async def write() -> None:
        for number in range(40):
            await asyncio.gather(*(publisher.store(said(50 * number + part)) for part in range(50)))

    writing = asyncio.create_task(write())
    for mark in (300, 1000, 1500):
        await eventually(lambda: len(got) >= mark)  # noqa: B023
        await crash(nats_server)
    await writing
    await tail.reached(2000, PATIENCE)
    assert got == list(range(1, 2001))


async def test_a_deleted_consumer_is_replaced_behind_the_last_record(log: Connection, follow: Follow) -> None:
    got: list[int] = []
    tail = await follow(lambda record: got.append(record.sequence))
    publisher = Publisher(log)
    for number in range(5):
        await publisher.store(said(number))
        await tail.reached(number + 1, PATIENCE)
        for name in await consumers(log):
            await api(log, f"CONSUMER.DELETE.{STREAM}.{name}")
    await publisher.store(said(5))
    await tail.reached(6, PATIENCE)
    assert got == [1, 2, 3, 4, 5, 6]


async def test_a_frozen_server_is_waited_for(nats_server: Server, log: Connection, follow: Follow) -> None:
    got: list[int] = []
    tail = await follow(lambda record: got.append(record.sequence))
    with frozen(nats_server):
        await eventually(lambda: not tail.live)
    await Publisher(log).store(said(1))
    await tail.reached(1, PATIENCE)
    assert got == [1]
    await eventually(lambda: tail.live)


async def test_a_lost_delivery_is_noticed_and_fetched_again(log: Connection, follow: Follow) -> None:
    got: list[int] = []
    tail = await follow(lambda record: got.append(record.sequence))
    publisher = Publisher(log)
    await publisher.store(said(1))
    await tail.reached(1, PATIENCE)
    tail._delivered -= 1  # as if one delivery had gone missing on its way
    await publisher.store(said(2))
    await publisher.store(said(3))
    await tail.reached(3, PATIENCE)
    assert got == [1, 2, 3]


async def test_a_stream_made_anew_is_told_and_nothing_of_it_is_delivered(
    log: Connection, follow: Follow
) -> None:
    got: list[int] = []
    replaced: list[StreamFacts] = []
    tail = await follow(lambda record: got.append(record.sequence), on_replaced=replaced.append)
    publisher = Publisher(log)
    await publisher.store(said(1))
    await tail.reached(1, PATIENCE)
    before = tail.epoch
    await api(log, f"STREAM.DELETE.{STREAM}")
    await provision(log, ["main"])
    for number in range(2, 7):
        await publisher.store(said(number))
    await eventually(lambda: replaced)
    assert [facts.epoch for facts in replaced] == [(await describe(log, STREAM)).epoch]
    assert tail.epoch == before != replaced[0].epoch
    assert got == [1]
    assert not tail.live


async def test_a_log_that_lost_its_end_is_told(
    nats_server: Server, log: Connection, follow: Follow, tmp_path: Path
) -> None:
    """As after a power cut, or when an older copy of the store was put back."""
    publisher = Publisher(log)
    await publisher.store(said(1))
    nats_server.kill()
    await nats_server.wait()
    shutil.copytree(nats_server.store, tmp_path / "copy")
    await nats_server.start()
    replaced: list[StreamFacts] = []
    tail = await follow(lambda record: None, on_replaced=replaced.append)
    for number in range(2, 5):
        await publisher.store(said(number))
    await tail.reached(4, PATIENCE)
    nats_server.kill()
    await nats_server.wait()
    shutil.rmtree(nats_server.store)
    shutil.copytree(tmp_path / "copy", nats_server.store)
    await nats_server.start()
    await eventually(lambda: replaced)
    assert (replaced[0].last, replaced[0].epoch) == (1, tail.epoch)


async def test_a_log_that_lost_its_end_and_grew_again_is_told(
    nats_server: Server, log: Connection, follow: Follow, tmp_path: Path
) -> None:
    """What stands at the last position now is not what was read there."""
    publisher = Publisher(log)
    nats_server.kill()
    await nats_server.wait()
    shutil.copytree(nats_server.store, tmp_path / "copy")
    await nats_server.start()
    got: list[bytes] = []
    replaced: list[StreamFacts] = []
    tail = await follow(lambda record: got.append(record.payload), on_replaced=replaced.append)
    for number in range(3):
        await publisher.store(said(number, text=b"old"))
    await tail.reached(3, PATIENCE)
    with frozen_tail(tail):
        nats_server.kill()
        await nats_server.wait()
        shutil.rmtree(nats_server.store)
        shutil.copytree(tmp_path / "copy", nats_server.store)
        await nats_server.start()
        for number in range(10, 20):
            await publisher.store(said(number, text=b"new"))
    await eventually(lambda: replaced)
    assert (replaced[0].last, replaced[0].epoch) == (10, tail.epoch)
    assert got == [b"old"] * 3


async def test_the_position_moves_past_what_no_filter_matches(log: Connection, follow: Follow) -> None:
    got: list[int] = []
    tail = await follow(lambda record: got.append(record.sequence), filters=("bc.main.evt.ctx.*.*.life",))
    publisher = Publisher(log)
    await publisher.store(lived("s", 1))
    for number in range(20):
        await publisher.store(said(number))
    await tail.reached(21, PATIENCE)
    assert (got, tail.position) == ([1], 21)
    await publisher.store(lived("s", 2))
    await tail.reached(22, PATIENCE)
    assert got == [1, 22]


async def test_several_filters_come_in_one_order(log: Connection, follow: Follow) -> None:
    got: list[str] = []
    filters = ("bc.main.evt.ctx.a.>", "bc.main.evt.ctx.b.>")
    tail = await follow(lambda record: got.append(record.payload.decode()), filters=filters)
    publisher = Publisher(log)
    for number in range(30):
        await publisher.store(lived("abc"[number % 3], number))
    await tail.reached(30, PATIENCE)
    assert got == [str(number) for number in range(30) if number % 3 != 2]


async def test_a_position_at_the_end_or_in_a_gap_is_gone_on_from(log: Connection, follow: Follow) -> None:
    publisher = Publisher(log)
    for number in range(10):
        await publisher.store(said(number))
    await api(log, f"STREAM.PURGE.{STREAM}", {"seq": 6})
    await api(log, f"STREAM.MSG.DELETE.{STREAM}", {"seq": 10})
    early: list[int] = []
    late: list[int] = []
    from_start = await follow(lambda record: early.append(record.sequence), after=2)
    from_end = await follow(lambda record: late.append(record.sequence), after=10)
    await publisher.store(said(10))
    await from_start.reached(11, PATIENCE)
    await from_end.reached(11, PATIENCE)
    assert (early, late) == ([6, 7, 8, 9, 11], [11])


async def test_the_end_is_reached_although_its_last_message_was_taken_out(
    log: Connection, follow: Follow
) -> None:
    publisher = Publisher(log)
    for number in range(3):
        await publisher.store(said(number))
    await api(log, f"STREAM.MSG.DELETE.{STREAM}", {"seq": 3})
    tail = await follow(lambda record: None)
    await tail.reached(3, PATIENCE)


async def test_what_is_not_reached_in_time_is_told(log: Connection, follow: Follow) -> None:
    tail = await follow(lambda record: None)
    with pytest.raises(Unavailable, match="up to 7"):
        await tail.reached(7, 0.2)


async def test_large_records_do_not_cut_the_connection(log: Connection, follow: Follow) -> None:
    publisher = Publisher(log, deadline=60.0)
    for number in range(100):
        await publisher.store(said(number, text=bytes(1 << 20)))
    got: list[int] = []
    changes: list[bool] = []
    log.on_change(changes.append)
    tail = await follow(lambda record: got.append(record.sequence))
    await tail.reached(100, PATIENCE)
    assert got == list(range(1, 101))
    assert changes == []


async def test_an_observer_that_fails_does_not_stop_the_tail(log: Connection, follow: Follow) -> None:
    got: list[int] = []

    def observe(record: Record) -> None:
        got.append(record.sequence)
        raise RuntimeError("a mistake in an observer")

    tail = await follow(observe)
    publisher = Publisher(log)
    for number in range(3):
        await publisher.store(said(number))
    await tail.reached(3, PATIENCE)
    assert got == [1, 2, 3]


async def test_a_stopped_tail_leaves_no_consumer_and_hears_nothing(log: Connection) -> None:
    got: list[int] = []
    tail = Tail(log, STREAM, after=0, on_record=lambda record: got.append(record.sequence))
    await tail.start()
    assert len(await consumers(log)) == 1
    await tail.stop()
    assert await consumers(log) == []
    await Publisher(log).store(said(1))
    assert got == []


async def test_a_tail_over_nothing_says_so(log: Connection) -> None:
    tail = Tail(log, "BC_EVENTS_nobody", after=0, on_record=lambda record: None)
    with pytest.raises(NotFound):
        await tail.start()
