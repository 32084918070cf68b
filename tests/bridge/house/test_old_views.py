"""Nothing is stored that rests on who was in a sidebar some time ago, and nobody is put out of order."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests.bridge.house.conftest import Platform

MANY = 400


async def test_a_bridge_that_does_not_hear_the_log_stores_nothing_in_a_sidebar_that_ended(
    platform: Platform,
) -> None:
    ada = await platform.agent("ada")
    await platform.life("done", ["ada"])
    assert (await ada.ask("sidebar_message", sidebar_id="done", content="before"))["type"] == "accepted"
    feed = platform.bridges[0].house.feeds.by_group["main"]
    await feed.close()  # from now on it knows only what was
    await platform.life("done", ["ada"], status="archived")
    said = [
        await ada.ask("sidebar_message", sidebar_id="done", content="after"),
        await ada.ask("sidebar_message", sidebar_id="done", content="@bob after"),
        await ada.remember("after", "done"),
    ]
    assert {answer["type"] for answer in said} == {"error"}
    stored = [record.payload for record in await platform.log()]
    assert not any(b"after" in payload for payload in stored)


@pytest.mark.parametrize("calls", [False, True], ids=["one event each", "with mentions"])
async def test_while_others_come_and_go_all_is_said_in_order_and_rests_on_who_is_there(
    platform: Platform, calls: bool
) -> None:
    ada, _ = await platform.agent("ada"), await platform.agent("bob")
    await platform.life("busy", ["ada"])
    over = asyncio.Event()

    async def come_and_go() -> int:
        for changes in itertools.count(1):
            seen = len(ada.frames)
            await platform.life("busy", ["ada", "bob"] if changes % 2 else ["ada"])
            await ada.until(lambda one, seen=seen: over.is_set() or len(one.frames) > seen + 10)
            if over.is_set():
                return changes
        return 0

    changing = asyncio.create_task(come_and_go())
    sent = []
    for number in range(MANY):
        text = f"@bob {number}" if calls and number % 7 == 0 else str(number)
        sent.append(await ada.send("sidebar_message", sidebar_id="busy", content=text))
    answers = [await ada.answer(message_id) for message_id in sent]
    over.set()
    await ada.remember("The last one.")
    assert {answer["type"] for answer in answers} == {"accepted"}
    assert await changing > 1
    changed, order = 0, []
    for record in await platform.log():
        if record.subject.endswith("ctx.busy.normal.life"):
            changed = record.sequence
        elif ".ctx.busy." in record.subject:
            headers = record.headers or {}
            order.append(headers["Nats-Msg-Id"].partition(":")[2])
            assert int(headers["Nats-Expected-Last-Subject-Sequence"]) == changed
    assert order == sent
