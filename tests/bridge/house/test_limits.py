"""A11: what is over a limit is refused with its own code, counted, and costs nobody else anything."""

from __future__ import annotations

import json

import pytest
from websockets.exceptions import InvalidStatus

from backchannel.delivery.pace import TokenBucket
from backchannel.jetstream.bucket import Bucket
from bridge.paces import Paces
from tests.bridge.house.client import eventually
from tests.bridge.house.conftest import Platform


async def test_a11_a_rate_that_is_set_anew_counts_for_who_is_connected(bare: Platform) -> None:
    bridge = await bare.bridge()
    ada = await bare.agent("ada")
    bob = await bare.agent("bob")
    assert ada.welcome["limits"]["messages_per_second"] == 200
    await Bucket(bare.connection, "BC_config").put("limits.messages_per_second", b"1")
    await eventually(lambda: all(peer.session.limits.messages_per_second == 1 for peer in bridge.house.peers))
    sent = [await ada.send("memory_update", context_id="main", exchange={"content": "x"}) for _ in range(20)]
    answers = [await ada.answer(one) for one in sent]
    refused = [answer for answer in answers if answer["type"] == "error"]
    assert refused and {answer["code"] for answer in refused} == {"rate_limited"}
    assert all(answer["retry_after"] > 0 for answer in refused)
    assert bridge.house.metrics.refused.labels("rate_limited").value >= len(refused)
    assert (await bob.remember("untouched"))["type"] == "accepted"


async def test_g6_the_interval_of_the_heartbeat_is_set_while_the_bridge_runs(bare: Platform) -> None:
    bridge = await bare.bridge(heartbeat_seconds=0.0)
    assert (await bare.agent("ada")).welcome["heartbeat_seconds"] == 30.0
    await Bucket(bare.connection, "BC_config").put("health.check_interval", b"12.5")
    await eventually(lambda: bridge.house.heartbeat_seconds == 12.5)
    assert (await bare.agent("bob")).welcome["heartbeat_seconds"] == 12.5


async def test_a11_coming_back_does_not_fill_an_agents_bucket(bare: Platform) -> None:
    bridge = await bare.bridge()
    await bare.agent("bob")  # is told when the limits are in force
    limits = {"limits.agent_messages_per_second": 1, "limits.messages_per_second": 1}
    for name, value in limits.items():
        await Bucket(bare.connection, "BC_config").put(name, json.dumps(value).encode())
    await eventually(lambda: all(peer.session.limits.messages_per_second == 1 for peer in bridge.house.peers))
    codes = set()
    for _ in range(40):  # a bucket of its own for each connection would let all of them pass
        ada = await bare.agent("ada")
        for _ in range(4):
            answer = await ada.ask("memory_update", context_id="main", exchange={"content": "x"})
            codes.add(answer.get("code"))
        await ada.leave()
        if "rate_limited" in codes:
            break
    assert "rate_limited" in codes


async def test_a11_who_comes_too_fast_from_one_address_is_told_to_slow_down(
    bare: Platform,
) -> None:
    bridge = await bare.bridge(upgrades_per_second=1)
    statuses = []
    for number in range(30):
        try:
            await bare.connect(f"agent-{number}")
        except InvalidStatus as refusal:
            statuses.append(refusal.response.status_code)
            assert int(refusal.response.headers["Retry-After"]) > 0
    assert statuses and set(statuses) == {429}
    assert bridge.house.metrics.turned_away.labels("too_fast_from_address").value == len(statuses)


def test_a11_buckets_are_kept_for_a_bounded_number() -> None:
    paces: Paces[int] = Paces(1, burst_seconds=1, most=3)
    first = paces.of(1)
    assert paces.of(1) is first
    for number in range(2, 10):
        paces.of(number)
    assert paces.of(1) is not first


@pytest.mark.parametrize("rate", [0.5, 10.0])
def test_a11_a_slower_rate_takes_back_what_was_saved(rate: float) -> None:
    bucket = TokenBucket(100, 100)
    bucket.take(0.0)
    bucket.tune(rate, rate)
    assert bucket.take(0.0, rate) == 0.0
    assert bucket.take(0.0, rate) == pytest.approx(1.0)
