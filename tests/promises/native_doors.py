"""The same for the doors of agents that speak NATS themselves: who fails one check, and what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from typing import Any

import nats.errors
import pytest

from backchannel.delivery.doors import Check, Door
from tests.build import content
from tests.eventually import eventually
from tests.promises.doors import DEEP, Scene, drives, forged, name
from tests.promises.native import Native
from tests.promises.running import WAIT
from tests.promises.test_f5_audit import trail

LOG = "BC_EVENTS_main"
OPEN = (Door.NATIVE_PUBLISH, Door.NATIVE_QUERY, Door.NATIVE_PULL, Door.NATIVE_INFO, Door.NATIVE_ACK)
IN_ANOTHERS_NAME = {
    Door.NATIVE_PUBLISH: "bc.main.cmd.normal.bob.memory_update",
    Door.NATIVE_PULL: f"$JS.API.CONSUMER.MSG.NEXT.{LOG}.agent-bob",
    Door.NATIVE_INFO: f"$JS.API.CONSUMER.INFO.{LOG}.agent-bob",
    Door.NATIVE_ACK: f"$JS.ACK.{LOG}.agent-bob.1.1.1.1.0",
}


async def came(scene: Scene, **claims: Any) -> Native:
    who = name()
    return await Native.enter(scene.platform.nats, who, scene.platform.signed(who, **claims))


async def refused(scene: Scene, who: str, token: str) -> None:
    with pytest.raises((nats.errors.Error, OSError)):
        await Native.enter(scene.platform.nats, who, token)


def update() -> bytes:
    return json.dumps(content("memory_update", context_id="main", exchange={"content": "said"})).encode()


@drives(Check.IDENTITY, Door.NATIVE_LOGIN)
async def with_a_forged_token(scene: Scene, door: Door) -> None:
    await refused(scene, "eve", forged("eve"))
    await refused(scene, "eve", scene.platform.signed("ada"))


@drives(Check.KEY, Door.NATIVE_LOGIN)
async def with_a_token_of_a_retired_key(scene: Scene, door: Door) -> None:
    await refused(scene, scene.names[door], scene.retired[door])


@drives(Check.KEY, *OPEN)
async def after_its_key_was_retired(scene: Scene, door: Door) -> None:
    """With the key the connection ends, and everything that is said over it."""
    assert scene.former is not None
    await asyncio.wait_for(scene.former.closed.wait(), WAIT)


@drives(Check.NONCE, Door.NATIVE_LOGIN)
async def with_a_token_that_was_used(scene: Scene, door: Door) -> None:
    who = name()
    token = scene.platform.signed(who, nonce=secrets.token_hex(8))
    await (await Native.enter(scene.platform.nats, who, token)).close()
    await refused(scene, who, token)


@drives(Check.RIGHTS, Door.NATIVE_LOGIN)
async def with_the_name_of_the_platform(scene: Scene, door: Door) -> None:
    for who in ("platform", "operator", "backchannel"):
        await refused(scene, who, scene.platform.signed(who))


@drives(Check.AUDIT, Door.NATIVE_LOGIN)
async def refused_on_record(scene: Scene, door: Door) -> None:
    await refused(scene, "eve", forged("eve"))

    async def look() -> bool:
        return any(
            one["action"] == "native_refused" for one in await trail(scene.platform, category="security")
        )

    assert await eventually(look)


@drives(Check.REVOCATION, Door.NATIVE_LOGIN, *OPEN)
async def sent_away(scene: Scene, door: Door) -> None:
    """With its connection everything ends that it could say over it."""
    native = await came(scene)
    later = time.time() + 3600
    await scene.rights.put("main", native.name, by="op", reason="A test.", barred_until=later)
    await asyncio.wait_for(native.closed.wait(), WAIT)
    await refused(scene, native.name, scene.platform.signed(native.name))


@drives(Check.IDENTITY, *IN_ANOTHERS_NAME)
async def in_anothers_name(scene: Scene, door: Door) -> None:
    native = await came(scene)
    await native.client.publish(IN_ANOTHERS_NAME[door], update())
    async with asyncio.timeout(WAIT):
        assert "permissions violation" in await native.complaints.get()
    await native.close()


@drives(Check.WORK, Door.NATIVE_PUBLISH, Door.NATIVE_QUERY)
async def with_what_takes_long_to_read(scene: Scene, door: Door) -> None:
    native = await came(scene)
    await native.offer(subject(native, door), DEEP)
    assert await on_record(scene, native, door, "bad_frame")
    await native.close()


def subject(native: Native, door: Door) -> str:
    """What the agent itself may publish to at a door."""
    consumer = f"{LOG}.agent-{native.name}"
    return {
        Door.NATIVE_PUBLISH: native.subject("memory_update"),
        Door.NATIVE_QUERY: "bc.main.svc.query.agents",
        Door.NATIVE_PULL: f"$JS.API.CONSUMER.MSG.NEXT.{consumer}",
        Door.NATIVE_INFO: f"$JS.API.CONSUMER.INFO.{consumer}",
        Door.NATIVE_ACK: f"$JS.ACK.{consumer}.1.1.1.1.0",
    }[door]


async def on_record(scene: Scene, native: Native, door: Door, code: str, word: str = "") -> Any:
    """What the trail says of a refusal at this door."""

    async def look() -> list[Any]:
        told = await trail(scene.platform, category="security", entity=native.name)
        facts = [one["facts"] for one in told if one["action"] == "refused"]
        return [
            one
            for one in facts
            if (one.get("door"), one.get("code")) == (door.value, code) and word in one["reason"]
        ]

    return await eventually(look)


async def publish(native: Native, door: Door, payload: bytes, times: int) -> None:
    """With our own inbox to answer to, which nobody reads."""
    for _ in range(times):
        await native.client.publish(subject(native, door), payload, reply=f"_INBOX_{native.name}.no.one")
    await native.client.flush()


@drives(Check.IDENTITY, Door.NATIVE_QUERY)
async def with_the_answer_to_somebody_else(scene: Scene, door: Door) -> None:
    """A question says by itself who asks; what can be forged is to whom the answer goes."""
    native, other = await came(scene), await came(scene)
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def hear(message: Any) -> None:
        heard.put_nowait(message.data)

    await other.client.subscribe(f"_INBOX_{other.name}.the.hole", cb=hear)
    await other.client.flush()
    await native.client.publish(subject(native, door), b"{}", reply=f"_INBOX_{other.name}.the.hole")
    await native.client.flush()
    assert (await native.ask("agents"))["status"] == "success"  # what was asked before has been answered
    await other.client.publish(f"_INBOX_{other.name}.no.matter", b"")
    assert heard.empty()
    await native.close()
    await other.close()


@drives(Check.SIZE, *OPEN)
async def with_too_much(scene: Scene, door: Door) -> None:
    native = await came(scene)
    await publish(native, door, b"x" * 1_100_000, 1)
    assert await on_record(scene, native, door, "too_large")
    await native.close()


@drives(Check.BYTES, *OPEN)
async def with_too_many_bytes_a_second(scene: Scene, door: Door) -> None:
    native = await came(scene)
    await publish(native, door, b"x" * 1_040_000, 16)
    assert await on_record(scene, native, door, "rate_limited", "bytes")
    await native.close()


@drives(Check.PACE, *OPEN[1:])
async def too_many_a_second(scene: Scene, door: Door) -> None:
    """Not so many that it counts as a flood, with which the connection would end."""
    native = await came(scene)
    await publish(native, door, b"\xff", 7_000 if door is Door.NATIVE_ACK else 2_000)
    assert await on_record(scene, native, door, "rate_limited", "messages")
    await native.close()


@drives(Check.ROOM, Door.NATIVE_PUBLISH, Door.NATIVE_QUERY, Door.NATIVE_PULL, Door.NATIVE_INFO)
async def with_too_many_under_way(scene: Scene, door: Door) -> None:
    native = await came(scene)
    payload = {Door.NATIVE_PULL: b'{"expires":3000000000}', Door.NATIVE_PUBLISH: update()}.get(door, b"{}")
    await publish(native, door, payload, 900 if door is Door.NATIVE_PUBLISH else 100)
    assert await on_record(scene, native, door, "queue_full")
    await native.close()


@drives(Check.AUDIT, *OPEN)
async def on_record_at_all(scene: Scene, door: Door) -> None:
    """Once, however often it comes."""
    native = await came(scene)
    await publish(native, door, b"x" * 1_100_000, 3)
    assert len(await on_record(scene, native, door, "too_large")) == 1
    await native.close()


@drives(Check.PACE, Door.NATIVE_LOGIN)
async def after_a_flood(scene: Scene, door: Door) -> None:
    """It is closed, on record, and kept out; nobody else is."""
    native = await came(scene)
    for _ in range(400):
        await native.client.publish(subject(native, Door.NATIVE_INFO), b"\xff")
        await native.client.publish(subject(native, Door.NATIVE_PUBLISH), b"\xff")
        await native.client.publish(subject(native, Door.NATIVE_PULL), b"\xff")
    with contextlib.suppress(nats.errors.Error, OSError):
        for _ in range(20_000):
            await native.client.publish(subject(native, Door.NATIVE_INFO), b"\xff")
    await asyncio.wait_for(native.closed.wait(), WAIT)
    await refused(scene, native.name, scene.platform.signed(native.name))
    other = await came(scene)
    await other.say("memory_update", context_id="main", exchange={"content": "here"})
    await other.close()

    async def look() -> bool:
        told = await trail(scene.platform, category="security", entity=native.name)
        return "native_flood" in {one["action"] for one in told}

    assert await eventually(look)


@drives(Check.ROOM, Door.NATIVE_LOGIN)
async def as_the_third(scene: Scene, door: Door) -> None:
    who = name()
    token = scene.platform.signed(who)
    inside = [await Native.enter(scene.platform.nats, who, token) for _ in range(2)]
    await refused(scene, who, token)
    for native in inside:
        await native.close()


@drives(Check.RIGHTS, Door.NATIVE_PUBLISH)
async def without_access_to_memory(scene: Scene, door: Door) -> None:
    native = await came(scene, can_access_memory=False)
    told = await native.offer(native.subject("memory_update"), update())
    assert told["error"]["description"].startswith("forbidden"), told
    await native.close()


@drives(Check.RIGHTS, Door.NATIVE_QUERY)
async def with_a_question_of_operators(scene: Scene, door: Door) -> None:
    native = await came(scene)
    told = await native.ask("policy", tool="plan", claims={})
    assert told.get("code") == "forbidden", told
    await native.close()


@drives(Check.PACE, Door.NATIVE_PUBLISH)
async def too_fast(scene: Scene, door: Door) -> None:
    native = await came(scene)
    inbox, limited = native.client.new_inbox(), asyncio.Event()

    async def heard(message: Any) -> None:
        if b"429" in message.data or b"rate_limited" in message.data:
            limited.set()

    await native.client.subscribe(inbox, cb=heard)
    for _ in range(1500):
        await native.client.publish(native.subject("memory_update"), b"{}", reply=inbox)
    await asyncio.wait_for(limited.wait(), WAIT)
    await native.close()
