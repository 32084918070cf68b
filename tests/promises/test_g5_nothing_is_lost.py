"""G5, D5: whatever is killed, nothing acknowledged is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from websockets.exceptions import ConnectionClosed, InvalidMessage

from tests.build import content
from tests.promises.running import Frame, Platform, Raw, position


async def stored(agent: Raw, count: int) -> list[str]:
    """Store so many messages; the ids in the order of sending."""
    ids = []
    for start in range(0, count, 50):
        sent = [
            await agent.send("memory_update", context_id="main", exchange={"content": f"message {number}"})
            for number in range(start, min(start + 50, count))
        ]
        for frame in sent:
            answer = await agent.answer_to(frame["message_id"])
            assert answer["type"] == "accepted", answer
        ids += [frame["message_id"] for frame in sent]
    return ids


async def test_g5_a_thousand_stored_messages_survive_kill_9_of_everything_at_once(fragile: Platform) -> None:
    ada = await fragile.agent("ada")
    cursor = ada.welcome["cursor"]
    ids = await stored(ada, 1000)
    await fragile.kill_everything()
    await fragile.start()
    back = await fragile.connect(ada.token)
    await back.hello(resume={"cursor": cursor})
    assert back.welcome["outcome"] == "resumed"
    assert [told["message_id"] for told in back.events("memory_update")] == ids


async def test_b2_a_repetition_is_recognised_after_kill_9_of_everything(fragile: Platform) -> None:
    ada = await fragile.agent("ada")
    frames = [
        content("memory_update", context_id="main", exchange={"content": "x"}),
        content("sidebar_spawn", parent_id="main", task_description="x"),
    ]
    for frame in frames:
        await ada.send_raw(frame)
        assert (await ada.answer_to(frame["message_id"]))["type"] == "accepted"
    made = await ada.until("result")
    await fragile.kill_everything()
    await fragile.start()
    back = await fragile.connect(ada.token)
    await back.hello()
    for frame in frames:
        await back.send_raw(frame)
        assert (await back.answer_to(frame["message_id"]))["type"] == "duplicate_ack"
    listed = await fragile.json("sidebars", "ls")
    assert [found["sidebar_id"] for found in listed] == [made["sidebar_id"]]


async def test_g5_a_sidebar_and_a_waiting_mention_are_there_after_kill_9(fragile: Platform) -> None:
    ada = await fragile.agent("ada")
    bob = await fragile.agent("bob")
    await bob.close()
    made = await ada.result("sidebar_spawn", parent_id="main", task_description="look", participants=["bob"])
    await ada.ask("sidebar_message", sidebar_id=made["sidebar_id"], content="are you there?")
    await ada.ask("mention_route", target_agents=["bob"], message="come back")
    await fragile.kill_everything()
    await fragile.start()
    back = await fragile.connect(bob.token)
    await back.hello()
    assert [told["message"] for told in back.events("mention_route")] == ["come back"]
    assert [told["content"] for told in back.events("sidebar_message")] == ["are you there?"]
    assert [told["sidebar_id"] for told in back.events("sidebar_spawn")] == [made["sidebar_id"]]
    shown = await fragile.json("sidebars", "show", made["sidebar_id"])
    assert shown["status"] == "active" and shown["participants"] == ["ada", "bob"]


@contextlib.asynccontextmanager
async def writing(agent: Raw, written: list[Frame]) -> AsyncIterator[None]:
    """Write as fast as the platform takes it while the block runs."""
    stop = asyncio.Event()

    async def write() -> None:
        number = 0
        while not stop.is_set():
            frame = await agent.send("memory_update", context_id="main", exchange={"content": str(number)})
            answer = await agent.answer_to(frame["message_id"])
            if answer["type"] == "error":
                assert answer["retryable"], answer
                await asyncio.sleep(answer["retry_after"] or 0.05)
                continue
            written.append(frame)
            number += 1

    task = asyncio.create_task(write())
    try:
        yield
    finally:
        stop.set()
        await task


async def test_d5_a_resume_during_full_speed_writing_has_no_gap_and_no_duplicate(fragile: Platform) -> None:
    writers = [await fragile.agent(f"writer-{number}") for number in range(3)]
    reader = await fragile.agent("reader")
    written: list[Frame] = []
    heard: list[Frame] = []
    async with contextlib.AsyncExitStack() as stack:
        for writer in writers:
            await stack.enter_async_context(writing(writer, written))
        cursor = reader.welcome["cursor"]
        for _ in range(8):
            for _ in range(60):
                await reader.until("memory_update")
            events = reader.events("memory_update")
            heard += events
            cursor = events[-1]["cursor"]
            await reader.socket.close()
            reader = await fragile.connect(reader.token)
            await reader.send_raw({"type": "hello", "resume": {"cursor": cursor}})
            reader.welcome = await reader.until("welcome")
            assert reader.welcome["outcome"] == "resumed"
    await reader.settled()
    heard += [told for told in reader.events("memory_update") if told["sender_agent_id"] != "reader"]
    assert len(heard) == len({told["message_id"] for told in heard})
    assert {told["message_id"] for told in heard} == {frame["message_id"] for frame in written}
    positions = [position(told) for told in heard]
    assert positions == sorted(positions)


@pytest.mark.parametrize("victim", ["nats-server", "bridge", "handlers"])
async def test_g5_everybody_carries_on_after_kill_9_of_one_process(fragile: Platform, victim: str) -> None:
    ada = await fragile.agent("ada")
    cursor = ada.welcome["cursor"]
    ids = await stored(ada, 100)
    assert fragile.kill(victim) >= 1
    frame = content("sidebar_spawn", parent_id="main", task_description="after the fall")
    result = await persistently(fragile, ada, frame)
    assert result["status"] == "success"
    await fragile.part()
    back = await fragile.connect(ada.token)
    await back.hello(resume={"cursor": cursor})
    told = [event["message_id"] for event in back.events("memory_update")]
    assert told == ids


async def persistently(platform: Platform, agent: Raw, frame: Frame) -> Frame:
    """Send one command, with the same id, on new connections if need be, until its result comes."""
    token, cursor = agent.token, agent.welcome["cursor"]
    async with asyncio.timeout(60):
        while True:
            try:
                await agent.send_raw(frame)
                answer = await agent.answer_to(frame["message_id"])
                if answer["type"] != "error":
                    return await agent.find(
                        lambda told: told["type"] == "result" and told["in_reply_to"] == frame["message_id"]
                    )
                assert answer["retryable"], answer
            except (ConnectionClosed, OSError):
                pass
            await asyncio.sleep(0.2)
            with contextlib.suppress(ConnectionClosed, OSError, InvalidMessage):
                if agent.socket.close_code is not None:
                    agent = await platform.connect(token)
                    await agent.hello(resume={"cursor": cursor})
