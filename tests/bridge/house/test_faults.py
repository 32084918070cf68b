"""What breaks, breaks for a moment; what was accepted stays."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys

from backchannel.jetstream.answer import api
from backchannel.jetstream.topology import provision
from tests.bridge.house.client import Client, client, eventually
from tests.bridge.house.conftest import GROUPS, KEY, Platform, token


async def test_what_was_accepted_survives_a_killed_server_once_and_in_order(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    over = asyncio.Event()
    sent: list[str] = []

    async def write(client: Client) -> None:
        while not over.is_set():
            sent.append(
                await client.send("memory_update", context_id="main", exchange={"content": str(len(sent))})
            )
            await asyncio.sleep(0.01)

    writing = asyncio.create_task(write(ada))
    for _ in range(3):
        await asyncio.sleep(0.4)
        platform.server.kill()
        await platform.server.wait()
        await asyncio.sleep(0.2)
        await platform.server.start()
    await asyncio.sleep(0.5)
    over.set()
    await writing
    answers = [await ada.answer(one) for one in sent]
    accepted = [answer["in_reply_to"] for answer in answers if answer["type"] == "accepted"]
    stored = [(record.headers or {})["Nats-Msg-Id"].partition(":")[2] for record in await platform.log()]
    assert len(stored) == len(set(stored))
    assert set(accepted) <= set(stored)
    assert stored == [one for one in sent if one in set(stored)]
    await bob.hears(stored[-1])
    assert [event["message_id"] for event in bob.events] == stored


async def test_a_frozen_server_holds_up_everybody_and_loses_nothing(bare: Platform) -> None:
    platform = bare
    await platform.bridge(messages_per_second=1_000_000)
    house = platform.bridges[0].house
    clients = [await platform.agent(f"agent{number}") for number in range(24)]
    assert platform.server.pid is not None
    os.kill(platform.server.pid, signal.SIGSTOP)
    sent: list[list[str]] = [[] for _ in clients]

    async def talk(client: Client, ids: list[str]) -> None:
        for number in range(120):
            ids.append(
                await client.send("memory_update", context_id="main", exchange={"content": str(number)})
            )

    talking = [asyncio.create_task(talk(*pair)) for pair in zip(clients, sent, strict=True)]
    await eventually(lambda: house.publisher.free <= 0)
    assert len(house.peers) == len(clients)
    os.kill(platform.server.pid, signal.SIGCONT)
    await asyncio.gather(*talking)
    for talker, ids in zip(clients, sent, strict=True):
        answers = [await talker.answer(one) for one in ids]
        assert {answer["type"] for answer in answers} == {"accepted"}
    stored = [(record.headers or {})["Nats-Msg-Id"] for record in await platform.log()]
    for number, ids in enumerate(sent):
        mine = [one.partition(":")[2] for one in stored if one.startswith(f"agent{number}:")]
        assert mine == ids


async def test_a_client_may_come_while_the_server_is_being_restarted(platform: Platform) -> None:
    ada = await platform.agent("ada")
    await ada.leave()
    platform.server.kill()
    await platform.server.wait()
    again = await platform.connect("ada")
    await again.raw({"type": "hello"})
    await platform.server.start()
    await again.frame("live")
    assert (await again.remember("back"))["type"] == "accepted"


async def test_a_log_made_anew_is_noticed_and_told(platform: Platform) -> None:
    ada = await platform.agent("ada")
    said = await ada.remember("in the old log")
    await ada.hears(said["in_reply_to"])
    await api(platform.connection, "STREAM.DELETE.BC_EVENTS_main")
    await provision(platform.connection, GROUPS)
    assert await ada.closed() == 1012
    house = platform.bridges[0].house
    await eventually(lambda: house.ready)
    again = await platform.agent(
        "ada", resume={"session": ada.welcome["session"], "cursor": ada.events[-1]["cursor"]}
    )
    assert again.welcome["outcome"] == "gap"
    fresh = await again.remember("in the new log")
    await again.hears(fresh["in_reply_to"])


async def test_a_bridge_waits_for_its_streams(bare: Platform) -> None:
    await api(bare.connection, "STREAM.DELETE.BC_EVENTS_other")
    opening = asyncio.create_task(bare.bridge())
    await asyncio.sleep(1.0)
    assert not opening.done()
    await provision(bare.connection, GROUPS)
    await opening
    ada = await bare.agent("ada", claims={"collaboration_group": "other"})
    await ada.alive()


async def test_a_killed_bridge_loses_nothing_that_was_accepted(bare: Platform) -> None:
    """The bridge is a process of its own here; who was connected comes back by another one."""
    await bare.bridge()
    process, url = await bridge_process(bare)
    async with client(url, token("ada")) as ada, client(url, token("bob")) as bob:
        await ada.live()
        await bob.live()
        sent = [
            await ada.send("memory_update", context_id="main", exchange={"content": str(n)})
            for n in range(400)
        ]
        await ada.answer(sent[50])
        process.kill()
        await process.wait()
        await ada.closed()
        await bob.closed()
    accepted = {frame["in_reply_to"] for frame in ada.frames if frame["type"] == "accepted"}
    position = {"session": bob.welcome["session"], "cursor": (bob.events or [bob.welcome])[-1]["cursor"]}
    again = await bare.agent("bob", resume=position)
    heard = [event["message_id"] for event in bob.events + again.events]
    assert accepted <= set(heard)
    assert heard == [one for one in sent if one in set(heard)]
    assert len(heard) == len(await bare.log())


async def bridge_process(platform: Platform) -> tuple[asyncio.subprocess.Process, str]:
    folder = platform.server.store.parent
    (folder / "key").write_text(base64.urlsafe_b64encode(KEY).decode())
    (folder / "password").write_text(platform.server.logins["platform"][1])
    settings = {
        "NATS_URL": platform.server.url,
        "NATS_USER": "platform",
        "NATS_PASSWORD_FILE": str(folder / "password"),
        "TOKEN_KEY_FILE": str(folder / "key"),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge", "--port", "0", "--groups", ",".join(GROUPS)),
        env=os.environ | {f"BACKCHANNEL_{name}": value for name, value in settings.items()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while True:
            line = json.loads(await process.stderr.readline())
            if line["event"] == "serving":
                return process, f"ws://127.0.0.1:{line['port']}/ws"


async def test_hundreds_come_back_at_once_and_miss_nothing(platform: Platform) -> None:
    ada = await platform.agent("ada")
    crowd = await asyncio.gather(*(platform.agent(f"agent{number}") for number in range(100)))
    sent = [(await ada.remember(str(number)))["in_reply_to"] for number in range(20)]
    for one in crowd:
        one.vanish()
    sent += [(await ada.remember(str(number)))["in_reply_to"] for number in range(20, 40)]
    await asyncio.gather(*(one.closed() for one in crowd))
    back = await asyncio.gather(
        *(
            platform.agent(
                f"agent{number}",
                resume={
                    "session": one.welcome["session"],
                    "cursor": one.events[-1]["cursor"] if one.events else one.welcome["cursor"],
                },
            )
            for number, one in enumerate(crowd)
        )
    )
    for before, after in zip(crowd, back, strict=True):
        assert [event["message_id"] for event in before.events + after.events] == sent


async def test_who_has_gone_leaves_nothing_behind(platform: Platform) -> None:
    house = platform.bridges[0].house
    await platform.life("logins", [f"agent{number}" for number in range(20)])
    for way in ("leaves", "vanishes", "is refused"):
        crowd = [await platform.connect(f"agent{number}") for number in range(20)]
        for one in crowd:
            await one.raw(
                {"type": "hello"} if way != "is refused" else {"type": "hello", "permission": "king"}
            )
        if way == "leaves":
            await asyncio.gather(*(one.frame("live") for one in crowd))
            await asyncio.gather(*(one.leave() for one in crowd))
        else:
            for one in crowd:
                one.vanish()
    feed = house.feeds.by_group["main"]
    await eventually(lambda: not house.peers and not house.chores.errands)
    assert not feed.fanout.returning
    assert len(feed.fanout.listeners) == 0
    assert not feed.fanout.listeners._by_key
    assert not house.positions._held
    assert not house.presence._leases
    assert not house.roster._present
    assert not house.slots._waiting
