"""A slow reader harms itself only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket

import pytest
from websockets.exceptions import ConnectionClosed

from bridge.voice import MOST_REPLIES
from tests.bridge.house.client import Client, client, eventually
from tests.bridge.house.conftest import Platform, token
from tests.build import content

LINE = "bc.main.evt.ctx.main.{}.memory"


async def flood(platform: Platform, count: int, size: int, lane: str = "normal") -> list[str]:
    ids = []
    for number in range(count):
        message = content(
            "memory_update", context_id="main", exchange={"content": f"{number:06}" + "x" * size}
        )
        await platform.store(LINE.format(lane), message)
        ids.append(message["message_id"])
    return ids


def position(cursor: str) -> int:
    return int(cursor.split(".")[1])


async def test_what_is_left_out_for_a_slow_reader_is_named_and_can_be_fetched(platform: Platform) -> None:
    slow, quick = await platform.agent("slow"), await platform.agent("quick")
    slow.socket.transport.pause_reading()
    sent = await flood(platform, 600, 20_000)
    critical = await flood(platform, 5, 10, "critical")
    await quick.hears(critical[-1])
    assert [event["message_id"] for event in quick.events] == sent + critical
    slow.socket.transport.resume_reading()
    gap = await slow.frame("gap")
    await slow.until(lambda one: set(critical) <= {event["message_id"] for event in one.events})
    await slow.hears(sent[-1])
    heard = {event["message_id"] for event in slow.events}
    assert len(heard) == len(slow.events)
    missing = set(sent + critical) - heard
    assert gap["dropped"] == len(missing)
    assert gap["by_lane"] == {"normal": len(missing)}
    fetched = await missed(platform, slow, gap["from"], gap["to"])
    assert missing <= fetched


async def missed(platform: Platform, client: Client, start: str, end: str) -> set[str]:
    """What lies between two cursors, fetched by coming back to just before the first."""
    epoch, _, sequence = start.partition(".")
    await client.leave()
    hello = {"resume": {"session": client.welcome["session"], "cursor": f"{epoch}.{int(sequence) - 1}"}}
    again = await platform.agent("slow", **hello)
    return {event["message_id"] for event in again.events if position(event["cursor"]) <= position(end)}


async def test_lanes_sort_what_waits_and_the_top_ones_are_never_left_out(platform: Platform) -> None:
    slow = await platform.agent("slow")
    slow.socket.transport.pause_reading()
    low = await flood(platform, 400, 20_000, "low")
    urgent = await flood(platform, 300, 10, "critical")
    house = platform.bridges[0].house
    await eventually(lambda: house.feeds.by_group["main"].position >= len(low) + len(urgent))
    slow.socket.transport.resume_reading()
    await slow.until(lambda one: set(urgent) <= {event["message_id"] for event in one.events})
    order = [event["message_id"] for event in slow.events]
    assert [one for one in order if one in set(urgent)] == urgent
    assert [one for one in order if one in set(low)] == [one for one in low if one in set(order)]


async def test_who_never_reads_is_closed_and_can_come_back(platform: Platform) -> None:
    slow, quick = await platform.agent("slow"), await platform.agent("quick")
    slow.socket.transport.pause_reading()
    house = platform.bridges[0].house
    sent = await flood(platform, 420, 90_000, "critical")
    await quick.hears(sent[-1])
    await eventually(lambda: len(house.peers) == 1)
    slow.vanish()
    again = await platform.agent("slow", resume={"cursor": slow.welcome["cursor"]})
    assert [event["message_id"] for event in again.events] == sent


async def test_who_does_not_read_its_answers_is_not_read_either_and_then_closed(
    bare: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.voice.PATIENCE", 2.0)
    bridge = await bare.bridge(messages_per_second=1_000_000)
    other = await bare.agent("other")
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.connect(("127.0.0.1", bridge.number))
    async with client(bridge.url, token("loud"), sock=narrow) as loud:
        await loud.live()
        loud.socket.transport.pause_reading()
        wire = next(peer.wire for peer in bridge.house.peers if peer.owner[1] == "loud")
        body = json.dumps({"type": "?" * 64, "message_id": "x" * 128})

        async def shout() -> None:
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await loud.raw(body)

        shouting = asyncio.create_task(shout())
        await eventually(lambda: wire.waiting > MOST_REPLIES // 2, patience=60)
        await other.alive()
        assert wire.waiting < 4 << 20
        await eventually(lambda: len(bridge.house.peers) == 1)
        loud.vanish()
        await shouting
