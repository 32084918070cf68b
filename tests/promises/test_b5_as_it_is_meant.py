"""Rows B2, B5, D10, E1 for clients that somebody else wrote: what the protocol leaves open is taken well."""

from __future__ import annotations

import json

import pytest

from tests.build import content
from tests.promises.running import Platform

pytestmark = pytest.mark.asyncio(loop_scope="module")
LIMIT = 1_048_576


async def test_b5_null_in_hello_says_the_same_as_a_field_that_is_left_out(platform: Platform) -> None:
    fields = ("token", "permission", "purpose", "resume", "intake", "subscription", "quality")
    ada = await platform.connect(platform.signed("null-ada"))
    welcome = await ada.hello(**dict.fromkeys(fields))
    assert (welcome["permission"], welcome["outcome"]) == ("active", "live_only")


async def test_b5_null_in_a_message_says_the_same_as_a_field_that_is_left_out(platform: Platform) -> None:
    ada, bob = await platform.agent("null-bea"), await platform.agent("null-bob")
    absent = dict.fromkeys(("priority", "context_refs", "sidebar_id", "trace_id", "sender_agent_id"))
    said = await ada.ask("mention_route", target_agents=["null-bob"], message="here", **absent)
    assert said["type"] == "accepted"
    heard = await bob.until("mention_route")
    assert "priority" not in heard and "context_refs" not in heard
    refs = {"content": "x", "data_refs": None, "topic": None}
    assert (await ada.ask("memory_update", context_id="main", exchange=refs))["type"] == "accepted"
    refused = await ada.ask("mention_route", target_agents=["null-bob"], message=None)
    assert (refused["code"], refused["field"]) == ("bad_message", "message")


async def test_b2_every_answer_names_its_request_in_one_way(platform: Platform) -> None:
    ada = await platform.agent("named-ada")
    frame = content("memory_update", context_id="main", exchange={"content": "once"})
    for _ in range(2):
        await ada.send_raw(frame)
    again = await ada.until("duplicate_ack")
    assert again["in_reply_to"] == again["original_message_id"] == frame["message_id"]
    ping = await ada.send("ping")
    assert (await ada.until("pong"))["in_reply_to"] == ping["message_id"]


async def test_b5_what_is_somewhat_too_long_is_refused_by_name_and_the_connection_lives(
    platform: Platform,
) -> None:
    ada = await platform.agent("long-ada")
    frame = content("memory_update", context_id="main", exchange={"content": "x" * LIMIT})
    await ada.send_raw(frame)
    refused = await ada.answer_to(frame["message_id"])
    assert (refused["code"], refused["retryable"]) == ("too_large", False)
    await ada.settled()
    fits = {**frame, "exchange": {"content": ["x" * (LIMIT - 1000)]}}
    await ada.send_raw(fits)
    assert (await ada.answer_to(frame["message_id"]))["type"] == "accepted"


async def test_b5_what_is_far_too_long_is_told_in_words_and_by_close_code(platform: Platform) -> None:
    ada = await platform.agent("long-bea")
    await ada.send_raw(json.dumps({"type": "ping", "filler": "x" * 2 * LIMIT}))
    refused = await ada.until("error")
    assert refused["code"] == "too_large" and str(LIMIT) in refused["message"]
    assert await ada.closed() == 1009


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("2026-01-31T12:00:00.123456Z", "2026-01-31T12:00:00.123456Z"),
        ("2026-01-31T14:00:00+02:00", "2026-01-31T12:00:00.000Z"),
        ("2026-01-31t12:00:00z", "2026-01-31T12:00:00.000Z"),
        (1769860800, "2026-01-31T12:00:00.000Z"),
    ],
)
async def test_b1_whatever_form_a_time_was_sent_in_others_are_told_rfc_3339_in_utc(
    platform: Platform, said: object, told: str
) -> None:
    ada = await platform.agent(f"time-{abs(hash(said))}")
    sent = await ada.send("memory_update", context_id="main", exchange={"content": "now"}, timestamp=said)
    heard = await ada.find(lambda frame: frame.get("message_id") == sent["message_id"])
    assert heard["timestamp"] == told


@pytest.mark.parametrize("kind", ["agent_offline", "tool_decision", "sidebar_closed", "result"])
async def test_b5_what_only_the_platform_says_is_forbidden_whatever_else_it_says(
    platform: Platform, kind: str
) -> None:
    ada = await platform.agent(f"platform-{kind}")
    refused = await ada.ask(kind)
    assert (refused["code"], refused["field"]) == ("forbidden", "type")


async def test_b5_a_time_that_utc_does_not_have_is_refused(platform: Platform) -> None:
    ada = await platform.agent("time-ada")
    for kind, fields in (
        ("memory_update", {"context_id": "main", "exchange": {"content": "x"}}),
        ("sidebar_spawn", {"parent_id": "main", "task_description": "x"}),
    ):
        refused = await ada.ask(kind, timestamp="0001-01-01T00:00:00+23:00", **fields)
        assert (refused["code"], refused["field"]) == ("bad_message", "timestamp")


async def test_d10_what_a_subscription_update_leaves_out_stays_as_it_was(platform: Platform) -> None:
    ada, bob = await platform.agent("kept-ada"), await platform.agent("kept-bob")
    await bob.result("subscription_update", mode="focused", focus=["tls"], peripheral_awareness=False)
    await bob.result("subscription_update", mode="focused")
    for topic in ("db", "tls"):
        await ada.ask("memory_update", context_id="main", exchange={"content": topic, "topic": topic})
    await ada.ask("agent_presence", status="working")
    await bob.settled()
    heard = [told for told in bob.events("memory_update") if told["sender_agent_id"] == "kept-ada"]
    assert [told["exchange"]["topic"] for told in heard] == ["tls"]
    assert not bob.events("agent_presence")


async def test_e1_a_context_with_large_exchanges_is_read_page_by_page(platform: Platform) -> None:
    ada = await platform.agent("large-ada")
    spawned = await ada.result("sidebar_spawn", parent_id="main", task_description="Large things")
    room = spawned["sidebar_id"]
    sizes = [400_000, 100_000, LIMIT - 1000, 500_000, 10, 10]
    for size in sizes:
        exchange = {"content": ["x" * size]}
        assert (await ada.ask("memory_update", context_id=room, exchange=exchange))["type"] == "accepted"
    found: list[int] = []
    pages, after = 0, None
    while pages == 0 or after is not None:
        page = await ada.query("context", context_id=room, after=after)
        assert page["status"] == "success", page
        found += [len(said["exchange"]["content"][0]) for said in page["exchanges"]]
        pages, after = pages + 1, page["next"]
    assert found == sizes
    assert pages == 3
