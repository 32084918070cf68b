"""A10 and the safety side of A2: what is decided about an entity counts at once, wherever it is connected."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from websockets.exceptions import InvalidStatus

from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.connection import Connection
from backchannel.service.rights import Rights
from tests.promises.running import Platform

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def rights(platform: Platform) -> AsyncIterator[Rights]:
    user, password = Home(platform.data).nats_login("platform")
    connection = await Connection.open(Address(platform.nats, user, password), name="test")
    yield Rights(connection)
    await connection.close()


async def refused(platform: Platform, token: str) -> int:
    with pytest.raises(InvalidStatus) as refusal:
        await platform.connect(token)
    return refusal.value.response.status_code


async def test_a10_tokens_from_before_a_revocation_close_live_connections_and_open_none(
    platform: Platform, rights: Rights
) -> None:
    past = int(time.time()) - 100
    ada = await platform.enter(platform.signed("a10-ada", iat=past))
    other = await platform.agent("a10-bea")
    await rights.put("main", "a10-ada", by="hugo", reason="lost", revoked_before=past + 1)
    assert (await ada.until("goodbye"))["code"] == 4403
    assert await ada.closed() == 4403
    assert await refused(platform, ada.token) == 401
    assert (await platform.enter(platform.signed("a10-ada"))).welcome["agent_id"] == "a10-ada"
    await other.settled()
