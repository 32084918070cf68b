"""A3 to A6 over two bridges: nonces, seats, sessions and expiry hold whichever one comes to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.eventually import eventually
from tests.promises.running import Platform, Raw
from tests.promises.test_f5_audit import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
BRIDGE = "-m bridge"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def several(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    running = await Platform(tmp_path_factory.mktemp("several")).start("--bridges", "2")
    yield running
    await running.part()
    assert await running.stop() == 0


async def refused(raw: Raw, **hello: object) -> int:
    await raw.send_raw({"type": "hello", **hello})
    assert (await raw.until("error"))["code"] == "forbidden"
    return await raw.closed()


async def test_a3_a_nonce_is_good_for_one_connection_whichever_bridge_it_comes_to(several: Platform) -> None:
    token = several.signed("a3-ada", nonce="this-one-only")
    first = await several.enter(token)
    await first.close()
    for _ in range(4):
        assert await refused(await several.connect(token)) == 4403
    assert await until(several, "nonce_used_again", entity="a3-ada")


async def test_a4_many_active_connections_at_once_leave_one_on_two_bridges(several: Platform) -> None:
    token = several.signed("a4-ada")
    found = await asyncio.gather(*(several.connect(token) for _ in range(8)))
    await asyncio.gather(*(raw.send_raw({"type": "hello"}) for raw in found))
    answers = await asyncio.gather(
        *(raw.find(lambda it: it["type"] in ("welcome", "error")) for raw in found)
    )
    welcomed = [raw for raw, told in zip(found, answers, strict=True) if told["type"] == "welcome"]
    assert len(welcomed) == 1
    assert {await raw.closed() for raw in found if raw is not welcomed[0]} == {4409}
    await welcomed[0].settled()


async def test_a5_many_that_resume_one_session_at_once_leave_one_on_two_bridges(several: Platform) -> None:
    first = await several.agent("a5-bea")
    found = await asyncio.gather(*(several.connect(first.token) for _ in range(6)))
    hello = {"type": "hello", "resume": {"session": first.welcome["session"]}}
    await asyncio.gather(*(raw.send_raw(hello) for raw in found))

    async def left() -> list[Raw]:
        return [raw for raw in found if raw.socket.close_code is None]

    (winner,) = await eventually(left, lambda raws: len(raws) <= 1)
    assert {await raw.closed() for raw in found if raw is not winner} <= {4409, 4410}
    assert await first.closed() == 4409
    assert await winner.until("welcome")
    await winner.settled()


async def test_a4_who_was_on_a_bridge_that_died_is_never_locked_out(several: Platform) -> None:
    names = [f"a4-bob-{number}" for number in range(6)]
    before = await asyncio.gather(*(several.agent(name) for name in names))
    several.kill_one(BRIDGE)
    after = await asyncio.gather(*(several.agent(name) for name in names if name), return_exceptions=True)
    dead = [raw for raw in before if raw.socket.close_code is not None]
    let_in = {raw.welcome["agent_id"] for raw in after if isinstance(raw, Raw)}
    assert {raw.welcome["agent_id"] for raw in dead} <= let_in
    for raw in before:
        if raw not in dead:
            await raw.settled()


async def test_a5_a_session_is_taken_over_once_and_an_old_token_alarms_the_live_one(
    several: Platform,
) -> None:
    first = await several.agent("a5-ada")
    second = await several.enter(first.token, resume={"session": first.welcome["session"]})
    assert await first.closed() == 4409
    await second.settled()
    async with asyncio.timeout(60):
        thief = await several.connect(first.token)
        assert await refused(thief, resume={"session": first.welcome["session"]}) == 4410
    warning = await second.until("error")
    assert (warning["code"], warning["in_reply_to"]) == ("forbidden", None)
    assert await until(several, "session_token_reused", entity="a5-ada")


async def test_a6_a_session_is_warned_renewed_in_band_or_closed_at_its_end(several: Platform) -> None:
    soon = int(time.time()) + 8
    renewing = await several.enter(several.signed("a6-ada", exp=soon))
    ending = await several.enter(several.signed("a6-bea", exp=soon))
    for raw in (renewing, ending):
        assert (await raw.until("session_expiring"))["at"]
    foreign = await renewing.result("renew", token=several.signed("a6-bea"))
    assert foreign["code"] == "forbidden"
    fresh = several.signed("a6-ada", nonce="renews-one-session")
    assert (await renewing.result("renew", token=fresh))["status"] == "success"
    assert (await renewing.result("renew", token=fresh))["code"] == "forbidden"
    assert await ending.closed() == 4401
    await renewing.settled()
