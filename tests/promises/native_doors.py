"""The same for the doors of agents that speak NATS themselves: who fails one check, and what it is told."""

from __future__ import annotations

import asyncio
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


@drives(Check.WORK, Door.NATIVE_PUBLISH)
async def with_what_takes_long_to_read(scene: Scene, door: Door) -> None:
    native = await came(scene)
    told = await native.offer(native.subject("memory_update"), DEEP)
    assert "error" in told, told
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
