"""A log that nearly reaches its size gives up the oldest conversation, and keeps what decisions rest on."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest

from backchannel.jetstream.answer import api
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.entry import MSG_ID, Entry
from backchannel.jetstream.page import page
from backchannel.jetstream.publish import Publisher
from backchannel.jetstream.read import describe
from backchannel.jetstream.topology import provision
from backchannel.protocol.subject import lives, order_subject
from backchannel.service.house import House
from backchannel.service.lives import Lives
from backchannel.service.shedding import shed, shed_through
from tests.service.test_lives import born

LOG = "BC_EVENTS_main"
MOST = 1_000_000
TALK = "bc.main.evt.ctx.first.normal.talk"
INBOX = "bc.main.evt.inbox.ada.normal.result"
MARK = order_subject("main", "approval.1")


@pytest.fixture
async def house(connection: Connection) -> AsyncIterator[House]:
    await provision(connection, ["main"])
    config = dict((await describe(connection, LOG)).config)
    await api(connection, f"STREAM.UPDATE.{LOG}", {**config, "max_bytes": MOST})
    found = House(connection, ["main"])
    yield found
    await found.publisher.close()


async def sequences(connection: Connection, wanted: str) -> list[int]:
    return [record.sequence for record in (await page(connection, LOG, 0, limit=1000, filter=wanted)).records]


async def say(publisher: Publisher, count: int, subject: str = TALK) -> None:
    for _ in range(count):
        await publisher.store(Entry(subject, b"x" * 10_000, {MSG_ID: secrets.token_hex(8)}))


async def test_a14_the_oldest_conversation_goes_and_lives_and_marks_stay(house: House) -> None:
    connection = house.connection
    await house.publisher.store(born("first"))
    await house.publisher.store(Entry(MARK, b"{}", {MSG_ID: "mark"}))
    await say(house.publisher, 40)
    await say(house.publisher, 40, INBOX)
    await house.publisher.store(born("second"))
    await say(house.publisher, 5)
    assert (await describe(connection, LOG)).bytes > 0.85 * MOST
    gone = await shed(house, "main")
    facts = await describe(connection, LOG)
    assert gone > 0 and 0.5 * MOST < facts.bytes <= 0.75 * MOST
    through = await shed_through(house, "main")
    said = await sequences(connection, TALK) + await sequences(connection, INBOX)
    assert len(said) == 85 - gone and min(said) > through, "what goes is named before"
    assert len(await sequences(connection, lives("main"))) == 2
    assert len(await sequences(connection, MARK)) == 1
    rebuilt = Lives(connection, "main")
    await rebuilt.start()
    assert {found.sidebar_id for found in rebuilt.all()} == {"first", "second"}
    await rebuilt.stop()
    assert await shed(house, "main") == 0, "it is small enough now"


async def test_a14_a_log_with_room_is_left_alone(house: House) -> None:
    await say(house.publisher, 80)
    assert await shed(house, "main") == 0
    assert await shed_through(house, "main") == 0
    assert len(await sequences(house.connection, TALK)) == 80


async def test_a14_several_may_shed_at_once(house: House) -> None:
    await say(house.publisher, 90)
    other = House(house.connection, ["main"])
    first, second = await asyncio.gather(shed(house, "main"), shed(other, "main"))
    await other.publisher.close()
    facts = await describe(house.connection, LOG)
    assert first + second == 90 - len(await sequences(house.connection, TALK))
    assert facts.bytes <= 0.75 * MOST
