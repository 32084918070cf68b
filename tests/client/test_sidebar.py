from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from backchannel.client import Agent, MemoryUpdate, SidebarMessage
from backchannel.errors import Forbidden, IllegalTransition
from tests.client.scripted import WAIT, Frame, ScriptedBridge, quietly, said


def spoken(sender: str, text: str) -> Frame:
    return said(sender, 0, type="sidebar_message", sidebar_id="sb-1", content=text)


def closed(status: str = "merged") -> Frame:
    return said("bob", 0, type="sidebar_closed", sidebar_id="sb-1", final_status=status, status=status)


@pytest.fixture(autouse=True)
def decides(bridge: ScriptedBridge) -> None:
    """Every command of a sidebar succeeds, and a spawned one is called sb-1."""

    async def decide(connection: ServerConnection, frame: Frame) -> bool:
        kind = frame["type"]
        if not kind.startswith("sidebar_") or kind == "sidebar_message":
            return False
        cursor = f"{bridge.epoch}.{len(bridge.log)}"
        accepted = {"type": "accepted", "in_reply_to": frame["message_id"], "cursor": cursor}
        await quietly(connection, accepted)
        fields: dict[str, Any] = {"sidebar_id": "sb-1"}
        if kind == "sidebar_spawn":
            fields |= {
                "participants": ["ada", "bob"],
                "inherited_context": [{"context_id": "main", "from": "a", "to": "b"}],
                "collaboration_notes": "Bob is here.",
            }
        await bridge.result(connection, frame, **fields)
        if kind == "sidebar_spawn":
            await bridge.publish(spoken("bob", "first word"))
        return True

    bridge.on_frame = decide


async def test_a_spawned_sidebar_knows_who_is_in_and_what_it_inherits(bridge: ScriptedBridge) -> None:
    async with (
        Agent.connect("ada", url=bridge.url, token="ada") as me,
        me.sidebar("Find out.", with_=["bob"]) as room,
    ):
        assert room.id == "sb-1"
        assert room.participants == ("ada", "bob")
        assert room.inherited == [{"context_id": "main", "from": "a", "to": "b"}]
        assert room.notes == "Bob is here."


async def test_the_first_word_in_a_sidebar_is_not_missed(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:

        async def elsewhere() -> list[Any]:
            return [message async for message in me.inbox()]

        listening = asyncio.ensure_future(elsewhere())
        async with me.sidebar("Find out.", with_=["bob"]) as room:
            async for message in room.messages():
                assert isinstance(message, SidebarMessage)
                assert message.content == "first word"
                break
            await room.merge("Found.")
        await me.close()
        assert await asyncio.wait_for(listening, WAIT) == []


async def test_messages_of_a_sidebar_end_with_it_and_the_inbox_keeps_the_rest(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        room = await me.sidebar("Find out.", with_=["bob"])
        await bridge.publish(said("bob", 5), spoken("bob", "second"), closed())
        types = [message.type async for message in room.messages()]
        assert types == ["sidebar_message", "sidebar_message", "sidebar_closed"]
        message = await me.next(timeout=WAIT)
        assert isinstance(message, MemoryUpdate)
        await bridge.until(lambda: bridge.acked == len(bridge.log))


async def test_a_block_that_raises_fails_the_sidebar_and_raises_on(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        with pytest.raises(ValueError, match="lost the thread"):
            async with me.sidebar("Find out."):
                raise ValueError("lost the thread")
    [update] = bridge.of_type("sidebar_status_update")
    assert update["sidebar_id"] == "sb-1"
    assert update["new_status"] == "failed"
    assert update["reason"] == "ValueError: lost the thread"


async def test_a_block_that_is_cancelled_fails_the_sidebar(bridge: ScriptedBridge) -> None:
    inside = asyncio.Event()

    async def work(me: Agent) -> None:
        async with me.sidebar("Find out."):
            inside.set()
            await asyncio.Event().wait()

    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        working = asyncio.ensure_future(work(me))
        await asyncio.wait_for(inside.wait(), WAIT)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
    assert bridge.of_type("sidebar_status_update")[0]["new_status"] == "failed"


async def test_a_block_that_merged_before_it_raised_stays_merged(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        with pytest.raises(ValueError):
            async with me.sidebar("Find out.") as room:
                await room.merge("Found.")
                raise ValueError
    assert not bridge.of_type("sidebar_status_update")


async def test_a_block_that_ends_in_good_order_leaves_the_sidebar_open(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        async with me.sidebar("Find out.") as room:
            pass
        message = await me.next(timeout=WAIT)
        assert isinstance(message, SidebarMessage)
        await room.say("Later.")
    kinds = [frame["type"] for frame in bridge.frames if frame["type"] != "ack"]
    assert kinds == ["sidebar_spawn", "sidebar_message"]


async def test_a_denied_request_is_raised_with_its_code(bridge: ScriptedBridge) -> None:
    outcomes = [
        {"status": "denied", "code": "forbidden", "message": "Not a participant."},
        {"status": "failed", "code": "illegal_transition", "message": "It is merged."},
    ]

    async def refuse(connection: ServerConnection, frame: Frame) -> bool:
        if frame["type"] == "ack":
            return False
        await bridge.result(connection, frame, **outcomes.pop(0))
        return True

    bridge.on_frame = refuse
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        with pytest.raises(Forbidden, match="Not a participant"):
            await me.join("logins")
        with pytest.raises(IllegalTransition, match="merged"):
            await me.open_sidebar("logins").archive("Old.")


async def test_a_child_is_spawned_below_its_sidebar(bridge: ScriptedBridge) -> None:
    async with Agent.connect("ada", url=bridge.url, token="ada") as me:
        await me.open_sidebar("logins").child("List the addresses.", with_=["bob"])
    [spawn] = bridge.of_type("sidebar_spawn")
    assert spawn["parent_id"] == "logins"
    assert spawn["participants"] == ["bob"]
