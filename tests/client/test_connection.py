from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from backchannel.client import Agent, DuplicateAck, Gap, compose
from backchannel.errors import Expired, Forbidden, TooLarge, Unavailable
from backchannel.protocol.memory import MemoryUpdate
from tests.client.scripted import WAIT, Frame, ScriptedBridge, quietly, said


async def test_an_unanswered_send_survives_a_dropped_connection_exactly_once(bridge: ScriptedBridge) -> None:
    async def lose_the_answer(connection: ServerConnection, frame: Frame) -> bool:
        if frame["type"] != "memory_update" or frame["message_id"] in bridge.stored:
            return False
        bridge.stored.add(frame["message_id"])
        bridge.append({**frame, "sender_agent_id": "ada"})
        connection.transport.abort()
        return True

    bridge.on_frame = lose_the_answer
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        receipt = await me.remember("Once.")
    assert isinstance(receipt, DuplicateAck)
    assert [event["exchange"]["content"] for event in bridge.log] == ["Once."]


async def test_what_is_sent_without_a_connection_waits_for_one(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        await bridge.drop()
        await asyncio.gather(*(me.remember(str(number)) for number in range(20)))
    contents = [event["exchange"]["content"] for event in bridge.log]
    assert sorted(contents, key=int) == [str(number) for number in range(20)]


async def test_an_answer_that_never_comes_is_unavailable(bridge: ScriptedBridge) -> None:
    async def silence(connection: ServerConnection, frame: Frame) -> bool:
        return bool(frame["type"] == "memory_update")

    bridge.on_frame = silence
    async with Agent.connect("ada", url=bridge.url, token="ada", timeout=0.2) as me:
        with pytest.raises(Unavailable, match="message_id"):
            await me.remember("Anybody?")


async def test_a_refusal_is_raised_as_its_own_class(bridge: ScriptedBridge) -> None:
    async def refuse(connection: ServerConnection, frame: Frame) -> bool:
        if frame["type"] == "ack":
            return False
        told = {
            "type": "error",
            "in_reply_to": frame["message_id"],
            "code": "forbidden",
            "message": "Not you.",
        }
        await connection.send(str(told).replace("'", '"'))
        return True

    bridge.on_frame = refuse
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        with pytest.raises(Forbidden, match="Not you"):
            await me.remember("May I?")


async def test_a_sender_that_is_too_fast_waits_and_sends_the_same_message_again(
    bridge: ScriptedBridge,
) -> None:
    seen: list[str] = []

    async def once_too_fast(connection: ServerConnection, frame: Frame) -> bool:
        if frame["type"] != "memory_update":
            return False
        seen.append(frame["message_id"])
        if len(seen) > 1:
            return False
        error = {"code": "rate_limited", "message": "Slower.", "retry_after": 0.01}
        await quietly(connection, {"type": "error", "in_reply_to": frame["message_id"], **error})
        return True

    bridge.on_frame = once_too_fast
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        await me.remember("Fast.")
    assert len(seen) == 2
    assert len(set(seen)) == 1


async def test_a_message_larger_than_the_platform_takes_never_leaves(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        with pytest.raises(TooLarge):
            await me.send(
                compose(MemoryUpdate, context_id="main", exchange={"content": "x" * 900_000 + "ü" * 90_000})
            )
        assert (await me.remember("Small.")).type == "accepted"
    assert len(bridge.of_type("memory_update")) == 1


async def test_an_expired_token_is_asked_for_again(bridge: ScriptedBridge) -> None:
    handed_out: list[str] = []

    async def token() -> str:
        handed_out.append(f"ada:{len(handed_out) + 1}")
        return handed_out[-1]

    async with Agent.connect("ada", url=bridge.url, token=token) as me:
        await bridge.close(4401, "expired")
        await bridge.until(lambda: len(bridge.hellos) == 2)
        await me.remember("Back.")
    assert bridge.tokens == ["ada:1", "ada:2"]


async def test_a_refused_token_is_exchanged_once_and_then_final(bridge: ScriptedBridge) -> None:
    bridge.refusals = [(401, {})]
    async with Agent.connect("ada", url=bridge.url, token=lambda: "ada"):
        assert len(bridge.tokens) == 2
    bridge.refusals = [(401, {}), (401, {})]
    with pytest.raises(Forbidden, match="401"):
        await Agent.connect("ada", url=bridge.url, token=lambda: "ada")


async def test_a_fixed_token_that_expired_ends_the_agent(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        await bridge.close(4401, "expired")
        with pytest.raises(Expired):
            async for _ in me.inbox():
                pass


@pytest.mark.parametrize("code", [4403, 4409])
async def test_who_is_turned_away_stops_with_an_error(bridge: ScriptedBridge, code: int) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        waiting = asyncio.ensure_future(me.request({"type": "sidebar_join", "sidebar_id": "logins"}))
        await bridge.until(lambda: bool(bridge.of_type("sidebar_join")))
        await bridge.close(code, "no")
        with pytest.raises(Forbidden):
            async for _ in me.inbox():
                pass
        with pytest.raises(Forbidden):
            await waiting
        with pytest.raises(Forbidden):
            await me.remember("Still here?")
    assert len(bridge.hellos) == 1


async def test_a_busy_platform_is_asked_again_when_it_says(bridge: ScriptedBridge) -> None:
    bridge.refusals = [(503, {"Retry-After": "0"}), (429, {"Retry-After": "0"})]
    async with Agent.connect("ada", url=bridge.url, token="ada"):
        assert len(bridge.tokens) == 3


async def test_no_platform_is_one_sentence_that_says_what_to_do(free_port: int) -> None:
    with pytest.raises(Unavailable, match="backchannel up"):
        await Agent.connect("ada", url=f"ws://127.0.0.1:{free_port}/ws", token="ada", patience=0.2)


async def test_a_token_for_somebody_else_is_refused(bridge: ScriptedBridge) -> None:
    with pytest.raises(Forbidden, match="bob"):
        await Agent.connect("ada", url=bridge.url, token="bob")


async def test_a_return_names_session_and_position(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        [cursor] = await bridge.publish(said("bob", 1))
        await me.next(timeout=WAIT)
        await bridge.drop()
        await bridge.until(lambda: len(bridge.hellos) == 2)
    assert bridge.hellos[1]["resume"] == {"session": "session-1", "cursor": cursor}


async def test_a_spent_session_is_given_up_and_the_agent_comes_back(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        await bridge.close(4410, "reused")
        await me.remember("Back.")
    assert "session" not in bridge.hellos[1].get("resume", {})


async def test_a_gap_is_told_in_the_inbox_and_to_the_callback(bridge: ScriptedBridge) -> None:
    told: asyncio.Queue[Gap] = asyncio.Queue()
    bridge.welcomes = [{}, {"outcome": "gap", "resume_failure": "The log begins later."}]
    async with Agent.connect("ada", url=bridge.url, token="ada", on_gap=told.put) as me:
        await bridge.publish(said("bob", 1))
        await me.next(timeout=WAIT)
        await bridge.drop()
        notice = await me.next(timeout=WAIT)
        assert isinstance(notice, Gap)
        assert notice.reason == "The log begins later."
        assert notice.start == f"{bridge.epoch}.1"
        assert await asyncio.wait_for(told.get(), WAIT) == notice


async def test_a_platform_that_forgot_the_agent_is_a_gap_too(bridge: ScriptedBridge) -> None:
    bridge.welcomes = [{}, {"outcome": "live_only", "resumed": False}]
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        await bridge.drop()
        assert isinstance(await me.next(timeout=WAIT), Gap)


async def test_a_token_about_to_expire_is_renewed_on_the_same_connection(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token=lambda: "ada"):
        for connection in bridge.connections:
            await connection.send('{"type":"session_expiring","at":"2026-01-31T12:00:00.000Z"}')
        await bridge.until(lambda: bool(bridge.of_type("renew")))
    assert len(bridge.hellos) == 1


async def test_leaving_ends_every_loop_and_every_request(bridge: ScriptedBridge) -> None:
    async def silence(connection: ServerConnection, frame: Frame) -> bool:
        return bool(frame["type"] == "memory_update")

    bridge.on_frame = silence
    me = await Agent.connect("ada", url=bridge.url, token="ada")
    heard: list[Any] = []

    async def listen() -> None:
        async for message in me.inbox():
            heard.append(message)

    listening = asyncio.ensure_future(listen())
    asking = asyncio.ensure_future(me.remember("Anybody?"))
    await bridge.until(lambda: bool(bridge.of_type("memory_update")))
    await me.close()
    await asyncio.wait_for(listening, WAIT)
    with pytest.raises(Unavailable):
        await asyncio.wait_for(asking, WAIT)
    with pytest.raises(Unavailable):
        await me.remember("After.")
