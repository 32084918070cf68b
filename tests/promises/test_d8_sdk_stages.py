"""Row D8 as the SDK keeps it: handled, delivery, and critical updates acknowledged when they are taken."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from backchannel.client import Agent
from backchannel.errors import NotFound
from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.publish import Entry, Publisher
from backchannel.protocol.frame import Accepted
from backchannel.protocol.subject import order_subject
from tests.eventually import eventually
from tests.promises.running import WAIT, Platform

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_critical_update_is_acknowledged_when_it_is_taken_and_before_it_is_done(
    platform: Platform,
) -> None:
    async with (
        Agent.connect("ada", data=platform.data) as ada,
        Agent.connect("bob", data=platform.data) as bob,
        asyncio.timeout(WAIT),
    ):
        calm = await ada.mention("bob", "when you have time")
        urgent = await ada.mention("bob", "now", urgent=True)
        inbox = bob.inbox()
        first = await anext(inbox)
        second = await anext(inbox)  # in hand, and not done: the cursor stands before it
        assert {first.type, second.type} == {"mention_route"}
        answer = await eventually(
            lambda: ada.delivery(urgent),
            lambda answer: answer["recipients"][0]["received"],  # written about once a second
        )
        assert answer["recipients"][0]["handled"] is None
        assert (await ada.delivery(calm))["recipients"][0]["agent_id"] == "bob"
        await bob.handled(second, "done", "looked")
        row = (await ada.delivery(str(second.message_id)))["recipients"][0]
        assert (row["handled"]["status"], row["handled"]["detail"]) == ("done", "looked")


async def test_a_stranger_learns_nothing_and_can_handle_nothing(platform: Platform) -> None:
    async with (
        Agent.connect("ada", data=platform.data) as ada,
        Agent.connect("bob", data=platform.data) as bob,
        Agent.connect("eve", data=platform.data) as eve,
        asyncio.timeout(WAIT),
    ):
        await ada.mention("bob", "for you alone")
        got = await bob.next()
        with pytest.raises(NotFound):
            await eve.delivery(got)
        with pytest.raises(NotFound):
            await eve.handled(got, "failed")


async def grow(platform: Platform, events: int) -> None:
    """Let the log grow by what nobody hears."""
    user, password = Home(platform.data).nats_login("operator")
    filler = Entry(order_subject("main", "filler"), b"", {})
    async with await Connection.open(Address(platform.nats, user, password), name="operator") as connection:
        publisher = Publisher(connection)
        for _ in range(events // 500):
            await asyncio.gather(*(publisher.store(filler) for _ in range(500)))
        await publisher.close()


async def test_a_message_is_found_by_its_id_alone_however_much_came_after_it(platform: Platform) -> None:
    async with Agent.connect("ada", data=platform.data) as ada, Agent.connect("bob", data=platform.data):
        receipt = await ada.mention("bob", "look")
        assert isinstance(receipt, Accepted)
        await grow(platform, 50_500)
        first = await ada.ask("delivery", message_id=receipt.in_reply_to)
        assert (first["stored"], first["recipients"]) == (None, []) and first["next"]
        found = await ada.delivery(receipt.in_reply_to)
        assert (found["stored"]["cursor"], found["next"]) == (receipt.cursor, None)
        assert found["recipients"][0]["agent_id"] == "bob"
        with pytest.raises(NotFound):
            await ada.delivery(str(uuid4()))
