"""G1, D7: how each connection is can be seen, and who fails three times in a row is kept out for a while."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.eventually import eventually
from tests.promises.http import fetch
from tests.promises.running import Frame, Platform
from tests.promises.test_d7_offline import settle

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def serving(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("BACKCHANNEL_HEARTBEAT_SECONDS", "0.5")
        patched.setenv("BACKCHANNEL_HEARTBEAT_STRIKES", "4")
        patched.setenv("BACKCHANNEL_LEASE_SECONDS", "3")
        running = await Platform(tmp_path_factory.mktemp("platform")).start()
    yield running
    assert await running.stop() == 0


def row(answer: Frame, name: str) -> Frame:
    """What the query `agents` says of one of them."""
    found: Frame = next(one for one in answer["agents"] if one["agent_id"] == name)
    return found


def well(links: list[Frame]) -> bool:
    """Both were measured, and answer at once by now; on a busy machine that may take a few heartbeats."""
    return [link["round_trip"] is not None and link["health"] == 100 for link in links] == [True] * 2


async def test_g1_every_connection_has_a_score_a_round_trip_and_a_readiness(platform: Platform) -> None:
    ada = await platform.agent("g1-ada")
    await platform.enter(ada.token, permission="observer", purpose="observer")
    await ada.until("position")
    answer = await ada.query("agents", lambda answer: well(row(answer, "g1-ada")["links"]))
    found = row(answer, "g1-ada")
    links = {link["purpose"]: link for link in found["links"]}
    assert (found["health"], found["condition"], found["readiness"]) == (100, "healthy", "ready")
    assert links["primary"]["readiness"] == "ready"
    assert links["observer"]["readiness"] == "unavailable"
    assert links["primary"]["health"] == 100 and links["primary"]["dropped"] == {}
    status = await ada.result("query", query="status", params={})
    assert status["agents"]["degraded"] == []


async def test_g1_who_answers_no_ping_is_removed_and_is_offline(platform: Platform) -> None:
    ada = await platform.agent("g1-bob")
    deaf = await platform.agent("g1-cid")
    deaf.stop_reading()
    found = row(await ada.query("agents", lambda answer: not row(answer, "g1-cid")["online"]), "g1-cid")
    assert (found["condition"], found["readiness"], found["links"]) == ("offline", "unavailable", [])


async def test_d7_three_failures_in_a_row_open_the_breaker_and_it_closes_again(platform: Platform) -> None:
    token = platform.signed("g1-eve")
    for _ in range(3):
        failing = await platform.enter(token)
        failing.stop_reading()
        await eventually(
            lambda: fetch(f"{platform.http}/health"), lambda answer: not answer.json()["connections"]
        )
    kept_out = await platform.connect(token)
    await kept_out.send_raw({"type": "hello"})
    error = await kept_out.until("error")
    assert (error["code"], error["retryable"]) == ("unavailable", True) and 0 < error["retry_after"] <= 60
    assert (await kept_out.until("goodbye"))["retry_after"] == error["retry_after"]
    assert await kept_out.closed() == 1013
    assert (await fetch(f"{platform.http}/health")).json()["breakers"] == {"open": 1}
    other = await platform.agent("g1-fay")
    assert other.welcome["type"] == "welcome", "nobody else pays for it"

    async def tried() -> str:
        again = await platform.connect(token)
        await again.send_raw({"type": "hello"})
        return str((await again.find(lambda frame: frame["type"] in ("welcome", "error")))["type"])

    await settle(platform, "breaker.retry_after", b"1")
    await eventually(tried, lambda told: told == "welcome", pause=0.2)
