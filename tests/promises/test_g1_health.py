"""G1, D7: how each connection is can be seen, and who fails three times in a row is kept out for a while."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.promises.http import fetch
from tests.promises.running import Platform
from tests.promises.test_d7_offline import settle

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def serving(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("BACKCHANNEL_HEARTBEAT_SECONDS", "0.3")
        patched.setenv("BACKCHANNEL_LEASE_SECONDS", "3")
        running = await Platform(tmp_path_factory.mktemp("platform")).start()
    await settle(running, "breaker.retry_after", b"3")
    yield running
    assert await running.stop() == 0


async def test_g1_every_connection_has_a_score_a_round_trip_and_a_readiness(platform: Platform) -> None:
    ada = await platform.agent("g1-ada")
    await platform.enter(ada.token, permission="observer", purpose="observer")
    await ada.until("position")
    while True:
        answer = await ada.result("query", query="agents", params={})
        found = next(one for one in answer["agents"] if one["agent_id"] == "g1-ada")
        links = {link["purpose"]: link for link in found["links"]}
        if all(link["round_trip"] is not None for link in links.values()):
            break
    assert (found["health"], found["condition"], found["readiness"]) == (100, "healthy", "ready")
    assert links["primary"]["readiness"] == "ready"
    assert links["observer"]["readiness"] == "unavailable"
    assert links["primary"]["health"] == 100 and links["primary"]["dropped"] == {}
    status = await ada.result("query", query="status", params={})
    assert status["agents"]["degraded"] == []


async def test_g1_who_answers_no_ping_is_removed_and_is_offline(platform: Platform) -> None:
    ada = await platform.agent("g1-bob")
    deaf = await platform.agent("g1-cid")
    deaf.socket.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's transports can
    while True:
        answer = await ada.result("query", query="agents", params={})
        found = next(one for one in answer["agents"] if one["agent_id"] == "g1-cid")
        if not found["online"]:
            break
    assert (found["condition"], found["readiness"], found["links"]) == ("offline", "unavailable", [])


async def test_d7_three_failures_in_a_row_open_the_breaker_and_it_closes_again(platform: Platform) -> None:
    token = platform.signed("g1-eve")
    for _ in range(3):
        failing = await platform.enter(token)
        failing.socket.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's transports can
        while (await fetch(f"{platform.http}/health")).json()["connections"]:
            pass
    kept_out = await platform.connect(token)
    await kept_out.send_raw({"type": "hello"})
    error = await kept_out.until("error")
    assert (error["code"], error["retryable"]) == ("unavailable", True) and 0 < error["retry_after"] <= 3
    assert (await kept_out.until("goodbye"))["retry_after"] == error["retry_after"]
    assert await kept_out.closed() == 1013
    assert (await fetch(f"{platform.http}/health")).json()["breakers"] == {"open": 1}
    other = await platform.agent("g1-fay")
    assert other.welcome["type"] == "welcome", "nobody else pays for it"
    while True:
        again = await platform.connect(token)
        await again.send_raw({"type": "hello"})
        if (await again.find(lambda frame: frame["type"] in ("welcome", "error")))["type"] == "welcome":
            break
        await again.closed()
