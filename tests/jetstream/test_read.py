"""Reading gives what is there, all of it, and nothing else."""

from __future__ import annotations

import pytest

from backchannel.errors import NotFound
from backchannel.jetstream.answer import NoStream, api
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.embedded import Server
from backchannel.jetstream.publish import Publisher
from backchannel.jetstream.read import describe, find_id, following, last, page
from backchannel.jetstream.topology import provision
from tests.jetstream.faults import STREAM, crash, lived, said

LIFE = "bc.main.evt.ctx.s.*.life"


@pytest.fixture
async def filled(log: Connection) -> Connection:
    """Sixty records; every third is in the life of the sidebar s."""
    publisher = Publisher(log)
    for number in range(60):
        await publisher.store(lived("s", number) if number % 3 == 0 else said(number))
    return log


async def test_the_newest_record_of_a_filter_is_found(filled: Connection) -> None:
    record = await last(filled, STREAM, LIFE)
    assert record is not None
    assert (record.sequence, record.payload) == (58, b"57")
    assert record.headers == {"Nats-Msg-Id": "s:57"}
    assert await last(filled, STREAM, "bc.main.evt.ctx.t.*.life") is None


@pytest.mark.parametrize("limit", [1, 7, 20, 500])
async def test_what_follows_comes_in_order_up_to_the_limit(filled: Connection, limit: int) -> None:
    records = await following(filled, STREAM, LIFE, 1, limit)
    assert [record.sequence for record in records] == list(range(4, 60, 3))[:limit]
    assert await following(filled, STREAM, LIFE, 58, limit) == []


async def test_pages_join_without_seam(filled: Connection) -> None:
    found: list[int] = []
    after, done = 0, False
    while not done:
        part = await page(filled, STREAM, after, limit=7)
        assert len(part.records) <= 7
        found += [record.sequence for record in part.records]
        after, done = part.last_sequence_scanned, part.done
    assert found == list(range(1, 61))


async def test_a_page_ends_where_it_was_told_to(filled: Connection) -> None:
    part = await page(filled, STREAM, 10, filter=LIFE, until=30)
    assert [record.sequence for record in part.records] == [13, 16, 19, 22, 25, 28]
    assert (part.last_sequence_scanned, part.done) == (30, True)
    assert (await page(filled, STREAM, 30, until=30)).records == []
    assert (
        await page(filled, STREAM, 10, filter="bc.main.evt.ctx.t.>", until=30)
    ).last_sequence_scanned == 30


async def test_a_page_of_large_records_is_cut_and_goes_on(log: Connection) -> None:
    publisher = Publisher(log)
    for number in range(12):
        await publisher.store(said(number, text=bytes(1 << 20)))
    part = await page(log, STREAM, 0)
    assert 0 < len(part.records) < 12
    assert not part.done
    rest = await page(log, STREAM, part.last_sequence_scanned, max_bytes=1 << 30)
    assert len(part.records) + len(rest.records) == 12
    assert rest.done


async def test_a_page_of_nothing_is_done(log: Connection) -> None:
    part = await page(log, STREAM, 0)
    assert (part.records, part.last_sequence_scanned, part.done) == ([], 0, True)


async def test_records_of_a_page_bear_their_own_headers_only(filled: Connection) -> None:
    part = await page(filled, STREAM, 0, limit=1)
    assert part.records[0].headers == {"Nats-Msg-Id": "s:0"}
    assert part.records[0].subject == "bc.main.evt.ctx.s.normal.life"


async def test_an_epoch_lasts_over_restarts_and_ends_with_the_stream(
    nats_server: Server, log: Connection
) -> None:
    before = await describe(log, STREAM)
    assert len(before.epoch) == 8
    assert set(before.epoch) <= set("0123456789abcdef")
    await crash(nats_server)
    assert (await describe(log, STREAM)).epoch == before.epoch
    await api(log, f"STREAM.DELETE.{STREAM}")
    await provision(log, ["main"])
    assert (await describe(log, STREAM)).epoch != before.epoch


async def test_facts_tell_what_the_stream_holds(filled: Connection) -> None:
    facts = await describe(filled, STREAM)
    assert (facts.first, facts.last, facts.messages, facts.consumers) == (1, 60, 60, 0)
    assert facts.bytes > 0
    assert facts.config["allow_atomic"] is True


async def test_a_message_is_found_by_its_id_behind_later_ones(filled: Connection) -> None:
    assert await find_id(filled, "bc.main.evt.ctx.s.normal.life", "s:57") == (STREAM, 58)
    assert await find_id(filled, "bc.main.evt.ctx.s.normal.life", "s:3") == (STREAM, 4)
    assert await find_id(filled, "bc.main.evt.ctx.s.normal.life", "s:4") is None


async def test_a_missing_stream_is_told(connection: Connection) -> None:
    with pytest.raises(NoStream):
        await describe(connection, "BC_EVENTS_nobody")
    with pytest.raises(NotFound):
        await last(connection, "BC_EVENTS_nobody", ">")
