"""A running platform under garbage: it answers in words, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from random import Random
from uuid import UUID

import pytest
import pytest_asyncio
from nats.errors import Error as NatsError
from websockets.exceptions import ConnectionClosed

from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS
from tests.promises.native import Native
from tests.promises.running import WAIT, Platform, Raw

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The client library of NATS leaves the sockets of refused attempts to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
ROUNDS = 8
PER_ROUND = 40
QUERIES = ("context", "sidebar", "agents", "heat_map", "status", "search", "approvals", "nothing")
LONG = {"short": 10.0}.get(os.environ.get("BACKCHANNEL_CAMPAIGN", ""), 600.0)
HEAD = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Memory-Auth: %s\r\n\r\n"
)
EXPECTED = {1000, 1002, 1003, 1007, 1009, 1012, *range(4400, 4430)}
"""How a connection that sends garbage may end; never by a fault of the bridge (1011)."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    running = await Platform(tmp_path_factory.mktemp("platform")).start()
    yield running
    await running.part()
    assert await running.stop() == 0


@contextlib.asynccontextmanager
async def ending(raw: Raw) -> AsyncIterator[None]:
    """It may be closed in here by the bridge, with a reason; else it leaves."""
    try:
        yield
    except ConnectionClosed as closed:
        assert closed.rcvd is not None and closed.rcvd.code in EXPECTED, closed
    await raw.close()


async def frames(platform: Platform, random: Random, number: int) -> None:
    """A welcome agent sends garbage; each frame is answered, or ends the connection as documented."""
    eve = await platform.agent(f"eve{number}")
    seeds = TARGETS["session"][1]
    async with ending(eve):
        for _ in range(PER_ROUND):
            body = mutated(random.choice(seeds), random)
            await eve.socket.send(body.decode("utf-8", "replace") if random.random() < 0.9 else body)
        await eve.send_raw({"type": "ping"})
        await eve.until("pong")


async def hellos(platform: Platform, random: Random, number: int) -> None:
    raw = await platform.connect(platform.signed(f"eve{number}"))
    async with ending(raw):
        await raw.send_raw(mutated(TARGETS["hello"][1][0], random).decode("utf-8", "replace"))
        await raw.find(lambda frame: frame["type"] in ("welcome", "error"))


async def octets(platform: Platform, random: Random, number: int) -> None:
    """Raw bytes at the port: in the request head, and in place of WebSocket frames."""
    host, _, port = platform.http.removeprefix("http://").rpartition(":")
    head = HEAD % platform.signed(f"eve{number}").encode()
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        if random.random() < 0.5:
            writer.write(mutated(head, random))
        else:
            writer.write(head + random.randbytes(random.randrange(200)) + b"\x88\x80\0\0\0\0")
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            writer.write_eof()
            async with asyncio.timeout(WAIT):
                await reader.read()
    finally:
        writer.close()


async def bodies(platform: Platform, random: Random, number: int) -> None:
    """`POST /store` with garbage is answered with what was wrong with it, not with a fault of ours."""
    host, _, port = platform.http.removeprefix("http://").rpartition(":")
    seed = next(body for body in TARGETS["session"][1] if b'"memory_update"' in body)
    body = mutated(seed, random)
    token = platform.signed(f"eve{number}")
    head = (
        f"POST /store HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Memory-Auth: {token}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode() + body)
    async with asyncio.timeout(WAIT):
        answer = await reader.read()
    writer.close()
    assert int(answer.split(b" ", 2)[1]) in (200, 400, 403, 404, 409, 413, 422, 429), answer[:200]


async def welcomed(platform: Platform, name: str, token: str) -> Native:
    """A busy machine may need longer for a login than the server waits for it."""
    async with asyncio.timeout(WAIT):
        while True:
            with contextlib.suppress(ConnectionError):
                return await Native.enter(platform.nats, name, token)


async def natives(platform: Platform, random: Random, number: int) -> None:
    """At the NATS door: garbage for a token lets nobody in, garbage from an agent is answered in words."""
    name = f"eve{number}"
    token = platform.signed(name)
    forged = mutated(token.encode(), random).decode("utf-8", "replace")
    with contextlib.suppress(NatsError, ConnectionError):  # as also where the login is too long
        await (await Native.enter(platform.nats, name, forged)).close()
        assert forged.rstrip("=") == token
    eve = await welcomed(platform, name, token)
    seeds = TARGETS["session"][1]
    for _ in range(PER_ROUND // 2):
        body = mutated(random.choice(seeds), random)
        headers = {"Nats-Msg-Id": f"{name}:{UUID(int=random.getrandbits(128), version=4)}"}
        answer = await eve.offer(eve.subject("memory_update"), body, headers)
        assert "seq" in answer, answer  # as JetStream answers, stored or not
        answer = await eve.offer(f"bc.main.svc.query.{random.choice(QUERIES)}", body)
        assert "status" in answer or "type" in answer, answer
    await eve.close()


FAULTS = ('"exception"', "Traceback", '"level":"error"', '"level": "error"')
ATTACKS = (frames, frames, hellos, octets, octets, bodies, natives)


async def attacked(platform: Platform, seed: int | str, number: int) -> None:
    """One round of everything at once. Each has its own dice: who is quicker must not change what is sent."""
    numbers = range(number * 10, number * 10 + len(ATTACKS))
    dice = [Random(f"{seed} {one}") for one in numbers]
    await asyncio.gather(
        *(attack(platform, *which) for attack, *which in zip(ATTACKS, dice, numbers, strict=True))
    )


async def heard(ada: Raw, bob: Raw) -> None:
    sent = await ada.send("mention_route", target_agents=["bob"], message="still there?")
    await bob.find(lambda frame: frame.get("message_id") == sent["message_id"] and "cursor" in frame)


async def rounds(platform: Platform, seed: int | str, until: float | None) -> int:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    number = 0
    while number < ROUNDS if until is None else time.monotonic() < until:
        number += 1
        await attacked(platform, seed, number)
        await heard(ada, bob)
    return number


def faults(platform: Platform) -> list[str]:
    """What any process logged as a fault of its own."""
    logs = [path.read_text("utf-8", "replace") for path in platform.data.rglob("*.log")]
    lines = [line for text in logs for line in text.splitlines()]
    return [
        line for line in lines if '"exception"' in line or "Traceback" in line or '"level":"error"' in line
    ]


async def test_garbage_at_every_door_is_refused_and_nobody_else_notices(platform: Platform) -> None:
    assert await rounds(platform, "garbage", None) == ROUNDS
    assert faults(platform) == []
    health = json.loads((await platform.run("status", "--json"))[1])
    assert health


@pytest.mark.campaign
@pytest.mark.timeout(LONG + 120)
async def test_garbage_for_a_long_time_is_refused_and_nobody_else_notices(platform: Platform) -> None:
    seed = int(os.environ.get("BACKCHANNEL_SEED", time.time_ns()))
    done = await rounds(platform, seed, time.monotonic() + LONG)
    print(f"{done} rounds of {len(ATTACKS)} attacks, seed {seed}")
    assert faults(platform) == []
