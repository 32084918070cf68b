"""A14: what agents may have stored is bounded in bytes, every copy counted, and refused whole."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.read import describe
from backchannel.protocol.subject import shed_mark
from tests.bridge.house.client import Client, eventually
from tests.bridge.house.conftest import Platform

BIG = 900_000


async def stored(platform: Platform) -> int:
    """Bytes of the log."""
    return (await describe(platform.connection, "BC_EVENTS_main")).bytes


def repetitions(agent: Client) -> int:
    return sum(frame["type"] == "duplicate_ack" for frame in agent.frames)


async def update(agent: Client, size: int) -> dict[str, Any]:
    return await agent.ask("memory_update", context_id="main", exchange={"content": "x" * size})


async def test_a14_a_long_mention_of_many_is_refused_whole(bare: Platform) -> None:
    bridge = await bare.bridge()
    others = [f"other-{number}" for number in range(60)]
    await bare.known(*others)
    ada = await bare.agent("ada")
    await eventually(lambda: all(bridge.house.directory.knows("main", name) for name in others))
    before = await stored(bare)
    answer = await ada.ask("mention_route", target_agents=others, message="m" * BIG)
    assert (answer["type"], answer["code"]) == ("error", "too_large")
    assert "60 copies" in answer["message"] and "4194304" in answer["message"]
    assert await stored(bare) - before < 10_000
    assert (await ada.ask("mention_route", target_agents=others, message="m" * 4_000))["type"] == "accepted"


async def test_a14_copies_are_charged_to_who_sends_them(bare: Platform) -> None:
    bridge = await bare.bridge(messages_per_second=1_000_000)
    others = ["bea", "cal", "dan", "eve"]
    await bare.known(*others)
    ada = await bare.agent("ada")
    await eventually(lambda: all(bridge.house.directory.knows("main", name) for name in others))
    before = await stored(bare)
    sent = [await ada.send("mention_route", target_agents=others, message="m" * BIG) for _ in range(12)]
    answers = [await ada.answer(one) for one in sent]
    codes = {answer["code"] for answer in answers if answer["type"] == "error"}
    assert codes == {"rate_limited"}
    assert all(answer["retry_after"] > 0 for answer in answers if answer["type"] == "error")
    assert await stored(bare) - before < 6 * 4 * BIG


async def test_a14_a_flood_of_large_updates_is_held_to_the_budget(bare: Platform) -> None:
    await bare.bridge()
    ada, bob = await bare.agent("ada"), await bare.agent("bob")
    before, loop = await stored(bare), asyncio.get_running_loop()
    began = loop.time()
    answers = [await update(ada, BIG) for _ in range(40)]
    seconds = loop.time() - began
    refused = [answer for answer in answers if answer["type"] == "error"]
    assert refused and {answer["code"] for answer in refused} == {"rate_limited"}
    assert await stored(bare) - before <= (5 + seconds) * 2_097_152 + BIG
    assert (await update(bob, BIG))["type"] == "accepted", "who keeps to its own budget does not notice"


async def test_a14_a_repetition_is_told_as_one_and_costs_little(bare: Platform) -> None:
    await bare.bridge()
    ada = await bare.agent("ada")
    same: dict[str, Any] = {"context_id": "main", "exchange": {"content": "x" * BIG}}
    first = await ada.send("memory_update", **same)
    assert (await ada.answer(first))["type"] == "accepted"
    for wanted in range(1, 16):  # charged in full, half of them would be over the budget
        await ada.send("memory_update", message_id=first, **same)
        await ada.until(lambda one, wanted=wanted: repetitions(one) == wanted)
    assert (await update(ada, BIG))["type"] == "accepted"


async def test_a14_what_can_never_pass_is_too_large_and_the_setting_is_live(bare: Platform) -> None:
    bridge = await bare.bridge()
    ada = await bare.agent("ada")
    setting = "limits.agent_bytes_per_second"
    await Bucket(bare.connection, "BC_config").put(setting, json.dumps(65_536).encode())
    await eventually(lambda: bridge.house.settings().limits.agent_bytes_per_second == 65_536)
    answer = await update(ada, BIG)
    assert (answer["code"], answer["retryable"]) == ("too_large", False)
    assert setting in answer["message"]
    assert (await update(ada, 200_000))["type"] == "accepted"


async def test_a14_a_command_is_charged_with_the_event_that_tells_of_it(bare: Platform) -> None:
    await bare.bridge(agent_bytes_per_second=300_000)
    ada = await bare.agent("ada")
    answer = await ada.ask("sidebar_spawn", parent_id="main", task_description="t" * BIG)
    assert answer["code"] == "too_large"
    assert (await ada.ask("sidebar_spawn", parent_id="main", task_description="t" * 600_000))["type"] == (
        "accepted"
    )


async def test_a14_who_missed_what_was_shed_is_told_of_a_gap(bare: Platform) -> None:
    bridge = await bare.bridge()
    ada, bob = await bare.agent("ada"), await bare.agent("bob")
    first = await ada.remember("one")
    await bob.hears(first["in_reply_to"])
    resume = {"session": bob.welcome["session"], "cursor": bob.events[-1]["cursor"]}
    await bob.leave()
    latest = await ada.remember("two")
    through = int(latest["cursor"].split(".")[1])
    await bare.store(shed_mark("main"), {"through": through, "message_id": "shed"})
    await eventually(lambda: bridge.house.feeds.by_group["main"].shed == through)
    back = await bare.agent("bob", resume=resume)
    assert back.welcome["outcome"] == "gap" and "begins after" in back.welcome["resume_failure"]
    late = await bare.bridge()
    assert late.house.feeds.by_group["main"].extent.first == through + 1, "who starts later knows it too"
