"""A12: rights belong to the credential a connection came with, at every door; and they go with it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import nats.errors
import pytest
import pytest_asyncio
from websockets.exceptions import InvalidStatus

from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.answer import api
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from tests.build import content
from tests.eventually import eventually
from tests.promises.native import WAIT, Native
from tests.promises.running import Platform, Raw

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The client library of NATS leaves the sockets of refused attempts to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
STRONG: dict[str, Any] = {"supervision_level": "autonomous", "tools": {"allowed": ["file_read"]}}
WEAK: dict[str, Any] = {"supervision_level": "locked", "can_spawn_sidebars": False}
READING = {"tool": "file_read", "params": {"path": "/srv/data/a.txt"}}


@pytest_asyncio.fixture(loop_scope="module")
async def natives() -> AsyncIterator[list[Native]]:
    opened: list[Native] = []
    yield opened
    for native in opened:
        await native.close()


async def enter(platform: Platform, natives: list[Native], name: str, **claims: Any) -> Native:
    native = await Native.enter(platform.nats, name, platform.signed(name, **claims))
    natives.append(native)
    return native


async def vault(platform: Platform, name: str) -> tuple[Raw, str]:
    """A sidebar with a secret in it, and its only participant."""
    keeper = await platform.agent(f"{name}-keeper")
    made = await keeper.result("sidebar_spawn", parent_id="main", task_description="t", participants=[])
    sidebar = str(made["sidebar_id"])
    await keeper.ask("sidebar_message", sidebar_id=sidebar, content="the secret")
    return keeper, sidebar


async def context_of(native: Native, sidebar: str) -> str:
    asked = await native.ask("context", context_id=sidebar)
    return str(asked.get("code") or asked["status"])


# ---- two connections of one agent


async def test_a12_a_strong_token_lends_nothing_to_a_weak_connection_of_the_same_agent(
    platform: Platform, natives: list[Native]
) -> None:
    keeper, sidebar = await vault(platform, "c-mix")
    weak = await enter(platform, natives, "c-mix", **WEAK)
    assert await context_of(weak, sidebar) == "forbidden"
    strong = await enter(platform, natives, "c-mix", **STRONG, sidebar_access=[sidebar])
    assert await context_of(weak, sidebar) == "forbidden"
    said = await weak.say("tool_request", **READING)
    assert (await weak.result_of(said["message_id"]))["decision"] == "denied"
    assert await context_of(strong, sidebar) == "forbidden"  # nor does the weak one act by it through this
    spoken = await keeper.send("sidebar_message", sidebar_id=sidebar, content="for those inside")
    end = await keeper.send("memory_update", context_id="main", exchange={"content": "the end"})
    await weak.hears(end["message_id"])
    assert spoken["message_id"] not in {frame.get("message_id") for frame in weak.frames}


async def test_a12_a_weak_token_takes_from_a_strong_connection_only_while_it_is_connected(
    platform: Platform, natives: list[Native]
) -> None:
    _, sidebar = await vault(platform, "c-back")
    strong = await enter(platform, natives, "c-back", **STRONG, sidebar_access=[sidebar])
    assert await context_of(strong, sidebar) == "success"
    weak = await enter(platform, natives, "c-back", **WEAK)
    assert await context_of(strong, sidebar) == "forbidden"
    await weak.close()
    await eventually(lambda: context_of(strong, sidebar), lambda found: found == "success")


async def test_a12_what_a_stronger_token_left_unacknowledged_does_not_come_to_a_weaker_one(
    platform: Platform, natives: list[Native]
) -> None:
    keeper, sidebar = await vault(platform, "c-left")
    strong = await enter(platform, natives, "c-left", sidebar_access=[sidebar])
    spoken = await keeper.send("sidebar_message", sidebar_id=sidebar, content="unacknowledged")
    pulls = await strong.client.jetstream().pull_subscribe_bind("agent-c-left", "BC_EVENTS_main")
    async with asyncio.timeout(WAIT):
        while True:
            (message,) = await pulls.fetch(1, timeout=WAIT)
            if json.loads(message.data).get("message_id") == spoken["message_id"]:
                break
            await message.ack_sync(WAIT)
    await message.nak()  # it is to come again, to whoever pulls
    await strong.close()
    weak = await enter(platform, natives, "c-left")
    end = await keeper.send("memory_update", context_id="main", exchange={"content": "the end"})
    await weak.hears(end["message_id"])
    assert "unacknowledged" not in weak.contents()


# ---- a token that counts no more


async def filters_of(platform: Platform, agent: str) -> set[str]:
    user, password = Home(platform.data).nats_login("platform")
    async with await Connection.open(Address(platform.nats, user, password), name="test") as connection:
        told = await api(connection, f"CONSUMER.INFO.BC_EVENTS_main.agent-{agent}")
    return set(told["config"]["filter_subjects"])


async def test_a12_with_a_token_its_consumer_forgets_what_it_let_through(
    platform: Platform, natives: list[Native]
) -> None:
    """At once, and not only when somebody pulls again."""
    keeper, sidebar = await vault(platform, "c-filter")
    token = platform.signed("c-filter", sidebar_access=[sidebar], jti="with-access")
    strong = await Native.enter(platform.nats, "c-filter", token)
    natives.append(strong)
    said = await keeper.send("sidebar_message", sidebar_id=sidebar, content="for whoever has access")
    await strong.hears(said["message_id"])
    assert any(sidebar in one for one in await filters_of(platform, "c-filter"))
    code, _, err = await platform.run("token", "revoke", "--jti", "with-access")
    assert code == 0, err
    await asyncio.wait_for(strong.closed.wait(), WAIT)
    await eventually(
        lambda: filters_of(platform, "c-filter"), lambda found: not any(sidebar in one for one in found)
    )


async def test_a12_revoking_one_token_takes_back_what_it_gave_and_ends_only_its_connection(
    platform: Platform, natives: list[Native]
) -> None:
    keeper, sidebar = await vault(platform, "c-jti")
    weak = await enter(platform, natives, "c-jti", **WEAK)
    token = platform.signed("c-jti", **STRONG, sidebar_access=[sidebar], jti="the-strong-one")
    strong = await Native.enter(platform.nats, "c-jti", token)
    natives.append(strong)
    code, _, err = await platform.run("token", "revoke", "--jti", "the-strong-one")
    assert code == 0, err
    await asyncio.wait_for(strong.closed.wait(), WAIT)
    assert await context_of(weak, sidebar) == "forbidden"
    said = await weak.say("tool_request", **READING)
    assert (await weak.result_of(said["message_id"]))["decision"] == "denied"
    await keeper.send("sidebar_message", sidebar_id=sidebar, content="after the revocation")
    end = await keeper.send("memory_update", context_id="main", exchange={"content": "the end"})
    await weak.hears(end["message_id"])
    assert "after the revocation" not in weak.contents()
    with pytest.raises((nats.errors.Error, OSError)):
        await Native.enter(platform.nats, "c-jti", token)


async def test_a12_a_token_dated_ahead_is_revoked_with_those_from_before_at_every_door(
    platform: Platform, natives: list[Native]
) -> None:
    token = platform.signed("c-ahead", iat=int(time.time()) + 50)
    native, raw = await Native.enter(platform.nats, "c-ahead", token), await platform.enter(token)
    natives.append(native)
    code, _, err = await platform.run("token", "revoke", "c-ahead")
    assert code == 0, err
    await asyncio.wait_for(native.closed.wait(), WAIT)
    assert await raw.closed() == 4403
    with pytest.raises((nats.errors.Error, OSError)):
        await Native.enter(platform.nats, "c-ahead", token)
    with pytest.raises(InvalidStatus):
        await platform.connect(token)
    unused = platform.signed("c-ahead", iat=int(time.time()) + 50)
    with pytest.raises(InvalidStatus):
        await platform.connect(unused)
    await platform.agent("c-ahead")  # with a token from after it


async def test_a12_a_kick_ends_native_and_websocket_connections_alike(
    platform: Platform, natives: list[Native]
) -> None:
    native, raw = await enter(platform, natives, "c-kicked"), await platform.agent("c-kicked")
    code, _, err = await platform.run("agents", "kick", "c-kicked")
    assert code == 0, err
    await asyncio.wait_for(native.closed.wait(), WAIT)
    assert await raw.closed() == 4403


# ---- a key that counts no more


@pytest_asyncio.fixture(loop_scope="module")
async def rotated(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """A platform whose keys may be changed."""
    platform = await Platform(tmp_path_factory.mktemp("rotated") / "data").start()
    yield platform
    await platform.part()
    await platform.stop()


@pytest.mark.parametrize("how", [["--retire-now"], ["--keep", "3s"]], ids=["retired", "lapsed by the clock"])
async def test_a12_with_its_key_every_connection_ends_at_every_door(
    rotated: Platform, how: list[str]
) -> None:
    agent, human = rotated.signed("k-agent"), rotated.signed("k-human", entity_type="human")
    worker = rotated.signed("k-worker", entity_type="service", offers=["file_read"])
    # Whoever has the key chooses name and expiry.
    forged = rotated.signed("k-forged", exp=int(time.time()) + 10**8)
    natives = [
        await Native.enter(rotated.nats, name, token)
        for name, token in (("k-agent", agent), ("k-worker", worker), ("k-forged", forged))
    ]
    raws = [await rotated.enter(agent), await rotated.enter(human, permission="observer")]
    code, _, err = await rotated.run("token", "rotate-key", *how)
    assert code == 0, err
    for native in natives:
        await asyncio.wait_for(native.closed.wait(), WAIT)
    for raw in raws:
        assert await raw.closed() in (4401, 4403)
    with pytest.raises((nats.errors.Error, OSError)):
        await Native.enter(rotated.nats, "k-agent", agent)
    fresh = await Native.enter(rotated.nats, "k-agent", rotated.signed("k-agent"))
    await fresh.say("memory_update", context_id="main", exchange={"content": "with the new key"})
    await fresh.close()


async def test_a12_connections_that_outlive_the_handlers_are_looked_at_again_when_these_are_back(
    rotated: Platform,
) -> None:
    native = await Native.enter(rotated.nats, "k-outlives", rotated.signed("k-outlives"))
    assert rotated.kill("handlers")
    home = Home(rotated.data)
    home.retire_token_keys()
    await asyncio.wait_for(native.closed.wait(), WAIT)


async def test_a12_a_pass_that_does_not_say_by_which_key_lets_nobody_do_anything(rotated: Platform) -> None:
    """As one of an older release, or one that somebody has changed."""
    native = await Native.enter(rotated.nats, "k-old", rotated.signed("k-old"))
    user, password = Home(rotated.data).nats_login("platform")
    async with await Connection.open(Address(rotated.nats, user, password), name="test") as connection:
        bucket = Bucket(connection, "BC_native")
        [(key, value)] = await bucket.entries("main.k-old.*.*")
        await bucket.put(key, json.dumps(json.loads(value.payload)["claims"]).encode())
        with suppress(nats.errors.Error):
            said = content("memory_update", context_id="main", exchange={"content": "still here"})
            told = await native.offer(native.subject("memory_update"), said)
            assert "error" in told
        await asyncio.wait_for(native.closed.wait(), WAIT)


# ---- how many, how much


async def test_a4_a_third_native_connection_is_refused_and_one_that_ends_makes_room(
    platform: Platform, natives: list[Native]
) -> None:
    first, second = [await enter(platform, natives, "c-many") for _ in range(2)]
    with pytest.raises((nats.errors.Error, OSError)):
        await enter(platform, natives, "c-many")
    flagged = await eventually(
        lambda: platform.json("audit", "tail", "--category", "security", "--entity", "c-many"), bool
    )
    assert "TooMany" in json.dumps(flagged)
    await first.close()

    async def again() -> bool:
        try:
            await enter(platform, natives, "c-many")
        except (nats.errors.Error, OSError):
            return False
        return True

    await eventually(again)
    assert not second.closed.is_set()


async def test_a4_of_many_that_come_in_at_the_same_moment_two_stay(platform: Platform) -> None:
    token = platform.signed("c-rush")
    found = await asyncio.gather(
        *(Native.enter(platform.nats, "c-rush", token) for _ in range(8)), return_exceptions=True
    )
    inside = [one for one in found if isinstance(one, Native)]
    assert len(inside) <= 2
    for native in inside:
        await native.close()


async def test_a11_subscriptions_of_a_native_connection_are_limited(
    platform: Platform, natives: list[Native]
) -> None:
    greedy = await enter(platform, natives, "c-greedy")
    with suppress(nats.errors.Error):
        for number in range(2000):
            await greedy.client.subscribe(f"_INBOX_c-greedy.{number}")
        await greedy.client.flush()
    await asyncio.wait_for(greedy.closed.wait(), WAIT)


async def test_a2_a_token_of_16_kib_and_one_that_lasts_for_ever_open_a_native_connection_too(
    platform: Platform, natives: list[Native]
) -> None:
    names = [f"tool-{number:04d}-of-many" for number in range(520)]
    token = platform.signed("c-long", tools={"allowed": names})
    assert 12_000 < len(token) <= 16_384
    for name, shown in (("c-long", token), ("c-ever", platform.signed("c-ever", exp=10**30))):
        native = await Native.enter(platform.nats, name, shown)
        natives.append(native)
        await native.say("memory_update", context_id="main", exchange={"content": "here"})
        assert not native.closed.is_set()


async def test_a12_the_configuration_of_every_server_takes_a_whole_token() -> None:
    folder = Path(__file__).parents[2] / "nats"
    for name in ("embedded.conf", "server.conf", "cluster.conf"):
        assert "max_control_line: 32KB" in (folder / name).read_text()
