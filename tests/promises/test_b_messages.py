"""Section B: messages are stored once, answered once, and refused with a reason."""

from __future__ import annotations

import asyncio
import urllib.request
from typing import Any
from uuid import uuid4

import pytest

from tests.build import NOON, content
from tests.promises.running import Platform

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_b2_the_same_message_again_is_answered_as_a_duplicate_and_stored_once(
    platform: Platform,
) -> None:
    ada, bob = await platform.agent("b2-ada"), await platform.agent("b2-bob")
    frame = content("memory_update", context_id="main", exchange={"content": "once"})
    for _ in range(3):
        await ada.send_raw(frame)
    answers = [await ada.answer_to(frame["message_id"]) for _ in range(3)]
    assert [answer["type"] for answer in answers] == ["accepted", "duplicate_ack", "duplicate_ack"]
    assert answers[1]["original_message_id"] == frame["message_id"]
    await bob.settled()
    assert [told["message_id"] for told in bob.events("memory_update")].count(frame["message_id"]) == 1


async def test_b2_holds_across_a_reconnect_and_for_commands(platform: Platform) -> None:
    ada = await platform.agent("b2-carl")
    frame = content("sidebar_spawn", parent_id="main", task_description="once")
    await ada.send_raw(frame)
    first = await ada.find(lambda told: told["type"] == "result")
    await ada.close()
    again = await platform.agent("b2-carl")
    await again.send_raw(frame)
    assert (await again.answer_to(frame["message_id"]))["type"] == "duplicate_ack"
    listed = await platform.json("sidebars", "ls")
    assert [found["sidebar_id"] for found in listed].count(first["sidebar_id"]) == 1


async def test_b2_the_same_id_of_another_agent_is_another_message(platform: Platform) -> None:
    ada, bob = await platform.agent("b2-dan"), await platform.agent("b2-eva")
    frame = content("memory_update", context_id="main", exchange={"content": "mine"})
    for agent in (ada, bob):
        await agent.send_raw(frame)
        assert (await agent.answer_to(frame["message_id"]))["type"] == "accepted"


BAD_FRAMES: list[tuple[str, Any, str]] = [
    ("not JSON", "{nope", "bad_frame"),
    ("an array", "[]", "bad_frame"),
    ("a number that is none", '{"type":NaN}', "bad_frame"),
    ("deeply nested", '{"a":' * 500 + "1" + "}" * 500, "bad_frame"),
    ("no type", {"message_id": str(uuid4())}, "unknown_type"),
    ("an unknown type", {"type": "no_such", "message_id": str(uuid4())}, "unknown_type"),
    ("a type that is a list", {"type": ["memory_update"]}, "unknown_type"),
    ("what only the platform says", content("result", in_reply_to="x", status="success"), "forbidden"),
    ("no message id", {"type": "memory_update", "timestamp": NOON, "context_id": "main"}, "bad_message"),
    ("an id that is no UUID", content("memory_update", message_id="7"), "bad_message"),
    ("a wrong field", content("memory_update", context_id="main", exchange=5), "bad_message"),
    (
        "a context with a dot",
        content("memory_update", context_id="a.b", exchange={"content": ""}),
        "bad_message",
    ),
    (
        "a context with a wildcard",
        content("memory_update", context_id="*", exchange={"content": ""}),
        "bad_message",
    ),
    (
        "a stranger's name",
        content("memory_update", context_id="main", exchange={"content": ""}, sender_agent_id="bob"),
        "wrong_sender",
    ),
    (
        "an unknown sidebar",
        content("sidebar_message", sidebar_id="nowhere", content="hello"),
        "forbidden",
    ),
    (
        "an unknown agent",
        content("mention_route", target_agents=["nobody-here"], message="hi"),
        "unknown_agent",
    ),
    ("an emergency without the right", content("security_emergency", threat_type="x"), "forbidden"),
]


@pytest.mark.parametrize(("what", "frame", "code"), BAD_FRAMES, ids=[what for what, _, _ in BAD_FRAMES])
async def test_b5_what_is_wrong_gets_a_typed_error_and_nothing_is_stored(
    platform: Platform, what: str, frame: Any, code: str
) -> None:
    ada = await platform.agent("b5-ada")
    await ada.send_raw(frame)
    error = await ada.until("error")
    assert error["code"] == code and error["message"].endswith(".")
    assert error["retryable"] is False
    if isinstance(frame, dict) and code != "unknown_type":
        assert error["in_reply_to"] == frame.get("message_id")
    await ada.settled()
    await ada.close()


async def test_b5_a_frame_that_is_no_text_or_far_too_long_is_answered_by_error_or_close_code(
    platform: Platform,
) -> None:
    ada = await platform.agent("b5-bea")
    await ada.send_raw(b"\xff\xfe\x00")
    assert (await ada.until("error"))["code"] == "bad_frame"
    await ada.send_raw("x" * 2_000_000)
    assert await ada.closed() == 1009


async def test_b5_one_refused_message_takes_no_other_with_it(platform: Platform) -> None:
    ada = await platform.agent("b5-cid")
    sent = []
    for number in range(20):
        sent.append(await ada.send("memory_update", context_id="main", exchange={"content": str(number)}))
        await ada.send_raw("{nope")
    answers = [await ada.answer_to(frame["message_id"]) for frame in sent]
    assert {answer["type"] for answer in answers} == {"accepted"}


async def test_b1_unknown_fields_are_kept_in_storage(platform: Platform) -> None:
    ada = await platform.agent("b1-ada")
    await ada.send(
        "memory_update", context_id="main", exchange={"content": "x", "mood": "good"}, weather={"rain": None}
    )
    told = await ada.find(lambda frame: frame["type"] == "memory_update" and "weather" in frame)
    assert told["weather"] == {"rain": None} and told["exchange"]["mood"] == "good"


async def test_b1_the_schema_is_published(platform: Platform) -> None:
    schema = await asyncio.to_thread(fetched, f"{platform.http}/schema.json")
    assert "sidebar_merge" in schema


def fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as reply:
        return str(reply.read().decode())


async def test_b4_no_connection_is_given_an_event_twice(platform: Platform) -> None:
    ada = await platform.agent("b4-ada")
    for number in range(50):
        await ada.send("memory_update", context_id="main", exchange={"content": str(number)})
    await ada.settled()
    cursor = ada.welcome["cursor"]
    await ada.close()
    again = await platform.connect(ada.token)
    await again.hello(resume={"cursor": cursor})
    await again.settled()
    ids = [told["cursor"] for told in again.frames if "cursor" in told and "message_id" in told]
    assert len(ids) == len(set(ids)) and len(ids) >= 51
