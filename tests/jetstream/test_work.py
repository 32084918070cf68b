"""Work is done at least once by somebody, in order where that was asked for, whoever dies."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from backchannel.errors import NotFound
from backchannel.jetstream.answer import api
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.embedded import Server
from backchannel.jetstream.entry import MSG_ID, Entry
from backchannel.jetstream.publish import Publisher
from backchannel.jetstream.work import Delivery, Work
from tests.jetstream.faults import PATIENCE, crash, frozen, started

COMMANDS = "BC_COMMANDS"
NAME = "sidebar-normal"
FILTERS = ("bc.*.cmd.normal.*.sidebar_spawn", "bc.*.cmd.normal.*.sidebar_join")

TAKER = """
import asyncio, sys
from backchannel.jetstream.address import Address
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.work import Work
async def main():
    connection = await Connection.open(Address(*sys.argv[1:4]), name="taker")
    work = await Work.open(connection, "BC_COMMANDS", "sidebar-normal", sys.argv[4:],
                           max_ack_pending=1, ack_wait=1.0)
    while True:
        delivery = await work.take()
        print(delivery.record.sequence, flush=True)
        if delivery.record.payload == b"hang":
            await asyncio.Event().wait()
        await delivery.settle()
asyncio.run(main())
"""


def command(number: int, kind: str = "sidebar_spawn", payload: bytes = b"{}") -> Entry:
    return Entry(f"bc.main.cmd.normal.alice.{kind}", payload, {MSG_ID: f"alice:{number}"})


async def ask(connection: Connection, count: int) -> None:
    publisher = Publisher(connection)
    for number in range(count):
        await publisher.store(command(number))


Open = Callable[..., Awaitable[Work]]


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    works: list[Work] = []

    async def open_work(
        connection: Connection, *, pending: int = 1, ack_wait: float = 5.0, filters: Sequence[str] = FILTERS
    ) -> Work:
        work = await Work.open(
            connection, COMMANDS, NAME, filters, max_ack_pending=pending, ack_wait=ack_wait
        )
        works.append(work)
        return work

    yield open_work
    for work in works:
        await work.close()


async def take(work: Work) -> Delivery:
    async with asyncio.timeout(PATIENCE):
        return await work.take()


async def unsettled(connection: Connection) -> int:
    facts = await api(connection, f"CONSUMER.INFO.{COMMANDS}.{NAME}")
    return int(facts["num_pending"]) + int(facts["num_ack_pending"])


async def test_work_comes_in_order_and_is_over_once_settled(log: Connection, opened: Open) -> None:
    await ask(log, 20)
    work = await opened(log)
    for number in range(20):
        delivery = await take(work)
        assert (delivery.record.sequence, delivery.attempt) == (number + 1, 1)
        await delivery.settle()
    assert await unsettled(log) == 0


async def test_only_what_the_filters_name_is_taken(log: Connection, opened: Open) -> None:
    publisher = Publisher(log)
    for number, kind in enumerate(["tool_request", "sidebar_join", "tool_request", "sidebar_spawn"]):
        await publisher.store(command(number, kind))
    work = await opened(log)
    for sequence in (2, 4):
        delivery = await take(work)
        assert delivery.record.sequence == sequence
        await delivery.settle()


async def test_what_is_put_off_comes_again_with_a_count(log: Connection, opened: Open) -> None:
    await ask(log, 1)
    work = await opened(log)
    for attempt in (1, 2, 3):
        delivery = await take(work)
        assert delivery.attempt == attempt
        await delivery.retry(0.05)
    delivery = await take(work)
    await delivery.discard("it never succeeds")
    assert await unsettled(log) == 0


async def test_long_work_is_not_given_to_somebody_else(log: Connection, opened: Open) -> None:
    await ask(log, 1)
    work, other = await opened(log, ack_wait=2.0), await opened(log, ack_wait=2.0)
    delivery = await take(work)
    stealing = asyncio.create_task(other.take())
    await asyncio.sleep(3.5)
    assert not stealing.done()
    await delivery.settle()
    assert await unsettled(log) == 0
    stealing.cancel()


async def test_settling_survives_kill_9_of_the_server(
    nats_server: Server, log: Connection, opened: Open
) -> None:
    await ask(log, 2)
    work = await opened(log)
    delivery = await take(work)
    nats_server.kill()
    await nats_server.wait()
    settling = asyncio.create_task(delivery.settle())
    await nats_server.start()
    await settling
    again = await take(work)
    if again.record.sequence == 1:  # the server may have forgotten that it had delivered it at all
        await again.settle()
        again = await take(work)
    assert (again.record.sequence, again.attempt) == (2, 1)
    await again.settle()
    assert await unsettled(log) == 0


async def test_taking_goes_on_after_a_freeze_and_a_crash(
    nats_server: Server, log: Connection, opened: Open
) -> None:
    work = await opened(log)
    taking = asyncio.create_task(take(work))
    with frozen(nats_server):
        await asyncio.sleep(0.2)
    await crash(nats_server)
    await ask(log, 1)
    delivery = await taking
    assert delivery.record.sequence == 1
    await delivery.settle()


async def test_a_deleted_consumer_is_made_again_while_somebody_waits(log: Connection, opened: Open) -> None:
    work = await opened(log)
    taking = asyncio.create_task(take(work))
    await asyncio.sleep(0.1)
    await api(log, f"CONSUMER.DELETE.{COMMANDS}.{NAME}")
    await ask(log, 1)
    assert (await taking).record.sequence == 1


async def test_settling_twice_does_no_harm(log: Connection, opened: Open) -> None:
    await ask(log, 1)
    delivery = await take(await opened(log))
    await delivery.settle()
    await delivery.settle()
    assert await unsettled(log) == 0


async def test_any_number_may_open_the_same_work_at_once(log: Connection, opened: Open) -> None:
    works = await asyncio.gather(*(opened(log) for _ in range(10)))
    await ask(log, 30)
    taken: list[int] = []

    async def labour(work: Work) -> None:
        while True:
            delivery = await work.take()
            taken.append(delivery.record.sequence)
            await delivery.settle()

    labourers = [asyncio.create_task(labour(work)) for work in works]
    async with asyncio.timeout(PATIENCE):
        while len(taken) < 30:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    for labourer in labourers:
        labourer.cancel()
    assert taken == list(range(1, 31))  # one at a time, so also in order


async def test_filters_may_be_widened_later(log: Connection, opened: Open) -> None:
    await opened(log, filters=FILTERS[:1])
    work = await opened(log)
    await Publisher(log).store(command(1, "sidebar_join"))
    assert (await take(work)).record.sequence == 1


async def test_what_a_killed_process_held_is_done_by_the_next(
    nats_server: Server, log: Connection, opened: Open
) -> None:
    publisher = Publisher(log)
    await publisher.store(command(1))
    await publisher.store(command(2, payload=b"hang"))
    await publisher.store(command(3))
    address = nats_server.address()
    argv = [sys.executable, "-c", TAKER, address.url, str(address.user), str(address.password), *FILTERS]
    with started(argv) as process:
        assert process.stdout is not None
        taken = [await asyncio.to_thread(process.stdout.readline) for _ in range(2)]
        assert taken == [b"1\n", b"2\n"]
        process.kill()
    work = await opened(log, ack_wait=1.0)
    second, third = await take(work), None
    assert (second.record.sequence, second.attempt) == (2, 2)
    await second.settle()
    third = await take(work)
    assert (third.record.sequence, third.attempt) == (3, 1)
    await third.settle()


async def test_work_on_a_missing_stream_is_told(connection: Connection) -> None:
    with pytest.raises(NotFound):
        await Work.open(connection, "BC_NOTHING", NAME, FILTERS, max_ack_pending=1)
