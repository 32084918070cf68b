from __future__ import annotations

import asyncio
import json

import pytest
from websockets.asyncio.server import ServerConnection

from backchannel.client import Agent, MemoryUpdate, Result, Unknown, cursor_of
from tests.client.scripted import NOW, WAIT, Frame, ScriptedBridge, quietly, said


def number(message: object) -> int:
    assert isinstance(message, MemoryUpdate)
    return int(str(message.exchange.content))


async def test_messages_come_typed_with_their_cursor(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        [cursor] = await bridge.publish(said("bob", 1))
        message = await me.next(timeout=WAIT)
        assert isinstance(message, MemoryUpdate)
        assert cursor_of(message) == cursor


async def test_a_message_is_acknowledged_when_the_next_one_is_asked_for(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        cursors = await bridge.publish(said("bob", 1), said("bob", 2))
        inbox = me.inbox()
        await anext(inbox)
        await anext(inbox)
        await bridge.until(lambda: bool(bridge.acks))
    assert bridge.acks == [cursors[0]]


async def test_leaving_acknowledges_what_is_done_at_once(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        cursors = await bridge.publish(*(said("bob", n) for n in range(5)))
        for _ in cursors:
            await me.next(timeout=WAIT)
    await bridge.until(lambda: bool(bridge.acks))
    assert bridge.acks[-1] == cursors[-1]


async def test_acknowledgements_are_collected(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        cursors = await bridge.publish(*(said("bob", n) for n in range(400)))
        for _ in cursors:
            await me.next(timeout=WAIT)
    await bridge.until(lambda: bridge.acked == 400)
    assert len(bridge.acks) <= 40


async def test_an_unacknowledged_message_comes_again_after_a_restart(bridge: ScriptedBridge) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Agent.connect("ada", url=bridge.url, token="ada") as me:
            await bridge.publish(said("bob", 1), said("bob", 2), said("bob", 3))
            async for message in me.inbox():
                if number(message) == 2:
                    raise ZeroDivisionError
    await bridge.until(lambda: bridge.acked == 1 and not bridge.connections)
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        assert [number(await me.next(timeout=WAIT)) for _ in range(2)] == [2, 3]


async def test_a_message_whose_loop_failed_comes_first_in_the_next_loop(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        await bridge.publish(said("bob", 1), said("bob", 2))
        with pytest.raises(ZeroDivisionError):
            async for _ in me.inbox():
                raise ZeroDivisionError
        assert [number(await me.next(timeout=WAIT)) for _ in range(2)] == [1, 2]


async def test_what_waits_is_not_doubled_by_a_reconnect(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        await bridge.publish(*(said("bob", n) for n in range(10)))
        assert number(await me.next(timeout=WAIT)) == 0
        await bridge.drop()
        await bridge.until(lambda: len(bridge.hellos) == 2 and bool(bridge.connections))
        await bridge.publish(*(said("bob", n) for n in range(10, 20)))
        assert [number(await me.next(timeout=WAIT)) for _ in range(19)] == list(range(1, 20))


async def test_own_messages_are_left_out_and_acknowledged(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        await me.remember("Mine.")
        await bridge.publish(said("bob", 7))
        assert number(await me.next(timeout=WAIT)) == 7
        await bridge.until(lambda: bridge.acked == 2)


async def test_own_messages_come_when_they_are_wanted(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        inbox = me.inbox(own=True)
        await me.remember("8")
        assert number(await anext(inbox)) == 8


async def test_a_message_of_an_unknown_type_is_not_lost(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        await bridge.publish(
            {"type": "weather", "message_id": said("bob", 1)["message_id"], "timestamp": NOW, "rain": 1}
        )
        message = await me.next(timeout=WAIT)
        assert isinstance(message, Unknown)
        assert message.model_extra is not None
        assert message.model_extra["rain"] == 1


async def test_a_batch_is_taken_apart(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        for n in range(3):
            bridge.append(said("bob", n))
        for connection in bridge.connections:
            await quietly(connection, {"type": "batch", "events": bridge.log})
        assert [number(await me.next(timeout=WAIT)) for _ in range(3)] == [0, 1, 2]


async def test_a_slow_user_does_not_make_memory_grow_and_misses_nothing(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada", queue=20) as me:
        inbox = me.inbox()
        await bridge.publish(*(said("bob", n) for n in range(500)))
        got = [number(await anext(inbox))]
        await me.remember("Its answer lies behind all of them.")
        assert len(me.mailroom.inbox) <= 40
        got += [number(await asyncio.wait_for(anext(inbox), WAIT)) for _ in range(499)]
    assert got == list(range(500))
    assert len(bridge.hellos) > 1


async def test_reading_stops_while_the_user_is_slow(bridge: ScriptedBridge) -> None:
    """And goes on before the bridge takes us for dead: what does not fit then comes again."""
    async with Agent.connect("ada", url=bridge.url, token="ada", queue=2) as me:
        inbox = me.inbox()
        large = [said("bob", n, exchange={"content": f"{n}", "padding": "x" * 200_000}) for n in range(100)]
        publishing = asyncio.ensure_future(bridge.publish(*large))
        assert number(await anext(inbox)) == 0
        done, _ = await asyncio.wait([publishing], timeout=0.5)
        assert not done
        got = [number(await asyncio.wait_for(anext(inbox), WAIT)) for _ in range(99)]
        await publishing
    assert got == list(range(1, 100))


async def test_a_full_inbox_does_not_keep_an_answer_from_its_asker(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada", queue=5) as me:
        inbox = me.inbox()
        await bridge.publish(*(said("bob", n) for n in range(200)))
        got = []
        for _ in range(200):
            got.append(number(await asyncio.wait_for(anext(inbox), WAIT)))
            if got[-1] % 20 == 0:
                await me.remember("Asked in the body of the loop.")
    assert got == list(range(200))


async def test_what_the_bridge_left_out_is_fetched_from_the_log(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        await bridge.publish(said("bob", 0))
        assert number(await me.next(timeout=WAIT)) == 0
        for n in (1, 2, 3):
            bridge.append(said("bob", n))
        for connection in bridge.connections:
            missed = {
                "from": f"{bridge.epoch}.2",
                "to": f"{bridge.epoch}.3",
                "dropped": 2,
                "by_lane": {"normal": 2},
            }
            await quietly(connection, {"type": "gap", **missed})
            await quietly(connection, bridge.log[-1])
        assert [number(await me.next(timeout=WAIT)) for _ in range(3)] == [1, 2, 3]


async def test_a_result_nobody_waits_for_any_more_is_in_the_inbox(bridge: ScriptedBridge) -> None:
    late: list[Frame] = []

    async def never(connection: ServerConnection, frame: Frame) -> bool:
        if frame["type"] == "sidebar_join":
            late.append(frame)
        return bool(frame["type"] == "sidebar_join")

    bridge.on_frame = never
    async with Agent.connect("ada", url=bridge.url, token="ada", timeout=0.1) as me:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await me.join("logins")
        await bridge.until(lambda: bool(late))
        for connection in tuple(bridge.connections):
            await bridge.result(connection, late[0], sidebar_id="logins")
        message = await me.next(timeout=WAIT)
        assert isinstance(message, Result)
        assert message.sidebar_id == "logins"


async def test_the_result_of_a_request_survives_a_reconnect(bridge: ScriptedBridge) -> None:
    async def decide_while_away(connection: ServerConnection, frame: Frame) -> bool:
        if frame["type"] != "sidebar_join" or frame["message_id"] in bridge.stored:
            return False
        bridge.stored.add(frame["message_id"])
        answer = {"type": "accepted", "in_reply_to": frame["message_id"], "cursor": f"{bridge.epoch}.0"}
        await connection.send(json.dumps(answer))
        connection.transport.abort()
        await bridge.result(connection, frame, sidebar_id="logins")
        return True

    bridge.on_frame = decide_while_away
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        room = await me.join("logins")
    assert room.id == "logins"
    assert len(bridge.of_type("sidebar_join")) == 1
