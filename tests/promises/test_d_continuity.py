"""D3, D10, D15: what was left out can be fetched, history can be asked for, and both sides can compare."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from tests.promises.running import WAIT, Frame, Platform, Raw, place, position

pytestmark = pytest.mark.asyncio(loop_scope="module")
HEARTBEAT = "0.5"
QUEUE = 20
LARGE = "x" * 60_000


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def serving(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """One whose heart beats fast and that keeps little for who is slow."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("BACKCHANNEL_HEARTBEAT_SECONDS", HEARTBEAT)
        patched.setenv("BACKCHANNEL_HEARTBEAT_STRIKES", "100")
        patched.setenv("BACKCHANNEL_QUEUE", str(QUEUE))
        running = await Platform(tmp_path_factory.mktemp("platform")).start()
    yield running
    assert await running.stop() == 0


async def say(agent: Raw, *contents: str, **fields: Any) -> list[Frame]:
    """Exchanges in the group's own context, each stored before the next."""
    return [
        await agent.ask("memory_update", context_id="main", exchange={"content": one}, **fields)
        for one in contents
    ]


async def dumped(agent: Raw, **fields: Any) -> tuple[Frame, list[Frame], Frame]:
    """The answer to an infodump, the events of its page, and its last frame."""
    sent = await agent.send("infodump", **fields)
    answer: Frame = {}
    events: list[Frame] = []
    async with asyncio.timeout(WAIT):
        while True:
            frame = await agent.frame()
            if frame.get("in_reply_to") == sent["message_id"]:
                answer = frame
                if frame["type"] == "error" or fields.get("limit") == 0:
                    return answer, [], {}
            elif frame.get("infodump") == sent["message_id"]:
                assert answer, "the cost must be told first"
                events += frame["events"]
                if "next" in frame:
                    return answer, events, frame


def contents(events: list[Frame]) -> list[str]:
    return [event["exchange"]["content"] for event in events if event["type"] == "memory_update"]


async def covered(agent: Raw, stored: Frame) -> Frame:
    """The first heartbeat that says that an event, or all up to one behind it, was delivered."""
    at = position(stored)
    return await agent.find(lambda frame: frame["type"] == "position" and position(frame) >= at)


async def test_d15_each_heartbeat_says_how_many_events_were_delivered_and_up_to_where(
    platform: Platform,
) -> None:
    ada = await platform.agent("d15-ada")
    bob = await platform.agent("d15-bob")
    sent = await say(ada, "1", "2", "3")
    told = await covered(bob, sent[-1])
    before = bob.frames[: bob.frames.index(told)]
    assert told["delivered"] == len(
        [frame for frame in before if "cursor" in frame and "message_id" in frame]
    )
    assert set(told) == {"type", "cursor", "delivered"}


async def test_d15_events_of_a_catch_up_count_as_delivered(platform: Platform) -> None:
    ada, bob = await platform.agent("d15-cid"), await platform.agent("d15-dan")
    await bob.close()
    await say(ada, *"abcde")
    back = await platform.enter(bob.token, resume={"cursor": bob.welcome["cursor"]})
    caught_up = [frame for frame in back.frames if "cursor" in frame and "message_id" in frame]
    told = await back.until("position")
    assert contents(caught_up)[-5:] == [*"abcde"] and told["delivered"] == len(caught_up)


async def test_d10_an_infodump_since_a_cursor_tells_its_cost_and_gives_exactly_that(
    platform: Platform,
) -> None:
    ada = await platform.agent("d10-ada")
    sent = await say(ada, "one", "two", "three")
    answer, events, last = await dumped(ada, since=sent[1]["cursor"], until=sent[2]["cursor"])
    assert contents(events) == ["two", "three"] and [event["cursor"] for event in events] == [
        sent[1]["cursor"],
        sent[2]["cursor"],
    ]
    assert (answer["status"], answer["count"], answer["estimated"]) == ("success", 2, False)
    assert answer["bytes"] > 200 and answer["missing"] is None
    assert (last["remaining"], last["next"]) == (0, None)


async def test_d10_an_infodump_by_time_and_one_by_pattern_find_what_was_said(platform: Platform) -> None:
    ada, bob = await platform.agent("d10-bob"), await platform.agent("d10-cid")
    await say(ada, "before the TLS handshake")
    between = datetime.now(UTC).isoformat()
    await say(ada, "a TLS handshake failed", "a certificate expired")
    assert contents((await dumped(bob, since=between))[1]) == [
        "a TLS handshake failed",
        "a certificate expired",
    ]
    assert contents((await dumped(bob, pattern="tls*FAILED"))[1]) == ["a TLS handshake failed"]
    found = contents((await dumped(bob, until=between, pattern="tls hand"))[1])
    assert found == ["before the TLS handshake"]
    assert not contents((await dumped(bob, since="9999-12-31T23:59:59-12:00"))[1])
    assert "before the TLS handshake" in contents((await dumped(bob, since="0001-01-01T00:00:00+12:00"))[1])


async def test_d10_an_infodump_comes_in_pages_and_can_be_priced_alone(platform: Platform) -> None:
    ada = await platform.agent("d10-dan")
    sent = await say(ada, *map(str, range(7)))
    stretch = {"since": sent[0]["cursor"], "until": sent[-1]["cursor"]}
    price, nothing, _ = await dumped(ada, **stretch, limit=0)
    assert (price["count"], nothing) == (7, [])
    heard: list[str] = []
    after: dict[str, str] = {}
    for _ in range(3):
        _, events, last = await dumped(ada, **stretch, limit=3, **after)
        heard += contents(events)
        after = {"after": last["next"]}
    assert heard == [*map(str, range(7))] and last["next"] is None


async def test_d10_nobody_is_dumped_what_it_may_not_see(platform: Platform) -> None:
    ada, bob, eve = [await platform.agent(f"d10-{name}") for name in ("eva", "fay", "gus")]
    begun = ada.welcome["cursor"]
    await ada.ask("mention_route", target_agents=["d10-fay"], message="for your eyes only")
    opened = await ada.result(
        "sidebar_spawn", parent_id="main", task_description="hidden", participants=["d10-fay"]
    )
    await ada.ask("sidebar_message", sidebar_id=opened["sidebar_id"], content="also hidden")
    _, seen, _ = await dumped(eve, since=begun)
    _, both, _ = await dumped(bob, since=begun)
    assert {"mention_route", "sidebar_message"} <= {event["type"] for event in both}
    assert not [
        event for event in seen if event["type"] in ("mention_route", "sidebar_message", "sidebar_spawn")
    ]


async def test_d10_an_infodump_moves_no_position_and_counts_as_no_delivery(platform: Platform) -> None:
    ada, bob = await platform.agent("d10-hal"), await platform.agent("d10-ida")
    before = (await bob.until("position"))["delivered"]
    sent = await say(ada, "x", "y")
    _, events, _ = await dumped(bob, since=sent[0]["cursor"])
    assert contents(events) == ["x", "y"]
    (last,) = await say(ada, "z")
    assert (await covered(bob, last))["delivered"] == before + 3


async def test_d10_live_events_go_on_while_a_long_history_is_read(platform: Platform) -> None:
    ada, bob = await platform.agent("d10-jan"), await platform.agent("d10-kim")
    sent = await say(ada, *[LARGE] * 60)
    asked = await bob.send("infodump", since=sent[0]["cursor"])
    await bob.find(lambda frame: frame.get("infodump") == asked["message_id"])
    emergency = await ada.ask("mention_route", target_agents=["d10-kim"], message="now", priority="urgent")
    told = await bob.find(lambda frame: frame.get("message") == "now")
    assert place(told) == place(emergency)
    last = await bob.find(lambda frame: frame.get("infodump") == asked["message_id"] and "next" in frame)
    assert last["remaining"] == 0 and not [frame for frame in bob.frames if frame["type"] == "gap"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"since": "nonsense"}, "bad_message"),
        ({"since": "2026-01-31T12:00:00"}, "bad_message"),
        ({"since": "00000000.5"}, "not_found"),
        ({"limit": -1, "pattern": "x"}, "bad_message"),
    ],
)
async def test_d10_an_infodump_that_means_nothing_is_refused(
    platform: Platform, fields: dict[str, Any], code: str
) -> None:
    ada = await platform.agent("d10-lea")
    answer, _, _ = await dumped(ada, **fields)
    assert (answer["type"], answer["code"]) == ("error", code)


async def test_d10_an_infodump_of_nothing_in_particular_is_everything_from_now_on(platform: Platform) -> None:
    ada = await platform.agent("d10-max")
    sent = await ada.send("infodump")
    answer = await ada.find(lambda frame: frame.get("in_reply_to") == sent["message_id"])
    assert (answer["status"], answer["mode"]) == ("success", "everything")


async def test_d3_a_gap_names_what_was_left_out_and_exactly_that_can_be_fetched(platform: Platform) -> None:
    ada = await platform.agent("d3-ada")
    slow = await platform.agent("d3-bob")
    slow.stop_reading()
    sent: list[Frame] = []
    for number in range(120):
        priority = ("normal", "background", "critical")[number % 3]
        sent += await say(ada, f"{number} {LARGE}", priority=priority)
    await say(ada, "the end", priority="critical")
    slow.read_on()
    await slow.find(lambda frame: frame.get("exchange", {}).get("content") == "the end")
    gaps = [frame for frame in slow.frames if frame["type"] == "gap"]
    assert gaps, "the queue was not full"
    came = [place(event) for event in slow.events("memory_update")]
    missing = [place(frame) for frame in sent if place(frame) not in came]
    assert len(missing) == sum(gap["dropped"] for gap in gaps)
    assert not {"critical"} & {lane for gap in gaps for lane in gap["by_lane"]}
    fetched: list[str] = []
    for gap in gaps:
        asked = {"since": gap["from"], "until": gap["to"], "spans": gap["spans"]}
        answer, events, last = await dumped(slow, **asked)
        assert answer["count"] == gap["dropped"] == len(events) and last["next"] is None
        fetched += [place(event) for event in events]
    assert sorted(fetched) == sorted(missing)


async def test_d10_the_truck_in_a_text_brings_what_is_named_behind_it(platform: Platform) -> None:
    ada = await platform.agent("d10-nat")
    await say(ada, "a haystack with a needle", "a haystack without")
    sent = await ada.send(
        "memory_update", context_id="main", exchange={"content": "@infodumptruck with a needle"}
    )
    assert (await ada.answer_to(sent["message_id"]))["type"] == "accepted"
    last = await ada.find(lambda frame: frame.get("infodump") == sent["message_id"] and "next" in frame)
    assert contents(last["events"])[0] == "a haystack with a needle"
