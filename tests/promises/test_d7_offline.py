"""D7: collaborators are told, once, that an agent has gone; a quick return is no departure."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from backchannel.protocol.identifier import PLATFORM
from tests.promises.running import Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")
GRACE, LONG_GRACE = b"1", b"5"
"""Who is to come back in time needs some on a machine that is busy."""


async def settle(platform: Platform, name: str, value: bytes) -> None:
    user, password = Home(platform.data).nats_login("operator")
    async with await Connection.open(Address(platform.nats, user, password), name="operator") as connection:
        await Bucket(connection, "BC_config").put(name, value)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def serving(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """Two of each, so that everything is told by one and watched by both."""
    folder: Path = tmp_path_factory.mktemp("platform")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("BACKCHANNEL_LEASE_SECONDS", "3")
        running = await Platform(folder).start("--bridges", "2", "--handlers", "2")
    await settle(running, "presence.offline_grace", GRACE)
    yield running
    assert await running.stop() == 0


async def together(platform: Platform, *names: str) -> list[Raw]:
    """Agents in one open sidebar, and in a second one as well."""
    agents = [await platform.agent(name) for name in names]
    for _ in range(2):
        opened = await agents[0].result(
            "sidebar_spawn", parent_id="main", task_description="work", participants=[*names[1:]]
        )
        assert opened["status"] == "success"
    return agents


async def departures(agent: Raw, of: str) -> int:
    await agent.settled()
    return len([event for event in agent.events("agent_offline") if event["agent_id"] == of])


async def test_d7_collaborators_are_told_once_when_an_agent_leaves(platform: Platform) -> None:
    ada, bob, cid = await together(platform, "leave-ada", "leave-bob", "leave-cid")
    stranger = await platform.agent("leave-eve")
    await bob.close()
    for agent in (ada, cid):
        told = await agent.until("agent_offline")
        assert (told["agent_id"], told["sender_agent_id"]) == ("leave-bob", PLATFORM)
        assert told["reason"]
    again = await platform.enter(bob.token)
    await again.close()
    assert (await ada.until("agent_offline"))["agent_id"] == "leave-bob"
    assert await departures(ada, "leave-bob") == 2, "each departure is told once"
    assert await departures(stranger, "leave-bob") == 0


async def test_d7_a_quick_return_is_no_departure(platform: Platform) -> None:
    ada, bob, cid = await together(platform, "quick-ada", "quick-bob", "quick-cid")
    await settle(platform, "presence.offline_grace", LONG_GRACE)
    try:
        for _ in range(3):
            await bob.close()
            bob = await platform.enter(bob.token)
        await cid.close()
        assert (await ada.until("agent_offline"))["agent_id"] == "quick-cid"
        assert await departures(ada, "quick-bob") == 0
    finally:
        await settle(platform, "presence.offline_grace", GRACE)


async def test_d7_one_connection_of_two_may_go(platform: Platform) -> None:
    ada, bob, cid = await together(platform, "two-ada", "two-bob", "two-cid")
    watching = await platform.enter(bob.token, permission="observer", purpose="observer")
    await bob.close()
    await cid.close()
    assert (await ada.until("agent_offline"))["agent_id"] == "two-cid"
    assert await departures(ada, "two-bob") == 0
    await watching.close()
    assert (await ada.until("agent_offline"))["agent_id"] == "two-bob"


async def test_d7_it_is_told_also_when_bridges_and_handlers_are_killed(platform: Platform) -> None:
    ada, bob = await together(platform, "kill-ada", "kill-bob")
    cursor = ada.welcome["cursor"]
    assert platform.kill("-m bridge") == 2
    await bob.closed()
    platform.kill_one("-m handlers")
    ada = await platform.enter(ada.token, resume={"cursor": cursor})
    told = await ada.until("agent_offline")
    assert told["agent_id"] == "kill-bob"
    assert await departures(ada, "kill-bob") == 1
