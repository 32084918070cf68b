"""Bad input gets a typed error, stores nothing, and ends nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bridge.house.conftest import Platform
from tests.build import content

GOOD: dict[str, Any] = {"context_id": "main", "exchange": {"content": "x"}}
BAD: list[tuple[str, Any, str, str | None]] = [
    ("not json", "hello?", "bad_frame", None),
    ("not an object", "[1,2]", "bad_frame", None),
    ("not a number", '{"type":NaN}', "bad_frame", None),
    ("deeply nested", '{"a":' * 5000 + "1" + "}" * 5000, "bad_frame", None),
    ("a lone surrogate", '{"type":"\\ud800"}', "bad_frame", None),
    ("no type", {"message_id": "x"}, "unknown_type", "type"),
    ("a strange type", content("sidebar_dance"), "unknown_type", "type"),
    ("a type that is a list", {"type": ["memory_update"]}, "unknown_type", "type"),
    (
        "what only the platform says",
        content("result", in_reply_to="x", status="success"),
        "forbidden",
        "type",
    ),
    (
        "an id that is none",
        content("memory_update", **GOOD) | {"message_id": "1"},
        "bad_message",
        "message_id",
    ),
    ("no time", content("memory_update", **GOOD) | {"timestamp": "soon"}, "bad_message", "timestamp"),
    ("a missing field", content("memory_update", context_id="main"), "bad_message", "exchange"),
    (
        "a field of a wrong type",
        content("memory_update", **{**GOOD, "exchange": 7}),
        "bad_message",
        "exchange",
    ),
    (
        "dots in a name",
        content("memory_update", **{**GOOD, "context_id": "a.b"}),
        "bad_message",
        "context_id",
    ),
    (
        "a wildcard in a name",
        content("memory_update", **{**GOOD, "context_id": "*"}),
        "bad_message",
        "context_id",
    ),
    (
        "a space in a target",
        content("mention_route", target_agents=["a b"], message="x"),
        "bad_message",
        None,
    ),
    ("no target", content("mention_route", target_agents=[], message="x"), "bad_message", "target_agents"),
    (
        "a stranger's name",
        content("memory_update", **GOOD, sender_agent_id="bob"),
        "wrong_sender",
        "sender_agent_id",
    ),
    ("a lane of others", content("security_emergency", threat_type="x"), "forbidden", "type"),
    ("a second hello", {"type": "hello"}, "bad_message", "type"),
    ("a cursor of nobody", {"type": "ack", "cursor": "latest"}, "bad_message", "cursor"),
    ("a stranger's token", content("renew", token="a.b.c"), "forbidden", "token"),
]


@pytest.mark.parametrize(("said", "code", "field"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
async def test_it_is_told_what_is_wrong_and_lives_on(
    platform: Platform, said: Any, code: str, field: str | None
) -> None:
    ada = await platform.agent("ada")
    await ada.raw(said)
    error = await ada.frame("error")
    assert error["code"] == code
    assert error["message"].endswith((".", "…"))
    if field is not None:
        assert error["field"] == field
    if isinstance(said, dict) and "message_id" in said:
        assert error["in_reply_to"] == said["message_id"]
    await ada.alive()
    assert await platform.log() == []
    assert (await ada.remember("and on it goes"))["type"] == "accepted"


async def test_an_observer_hears_and_asks_and_stores_nothing(platform: Platform) -> None:
    eve, ada = await platform.agent("eve", permission="observer"), await platform.agent("ada")
    refused = await eve.ask("memory_update", **GOOD)
    assert refused["code"] == "forbidden"
    said = await ada.remember("for all")
    await eve.hears(said["in_reply_to"])
    assert len(await platform.log()) == 1


async def test_the_largest_message_passes_and_a_larger_one_is_named(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    said = await ada.remember("x" * 1_000_000)
    heard = await bob.hears(said["in_reply_to"])
    assert len(heard["exchange"]["content"]) == 1_000_000
    await ada.remember("x" * 1_000_001)
    assert (await ada.frame("error"))["code"] == "bad_message"
    await ada.raw('{"type":"ping","filler":"' + "x" * (2 << 20) + '"}')
    assert await ada.closed() == 1009


async def test_who_speaks_too_fast_is_told_when_to_go_on(bare: Platform) -> None:
    await bare.bridge(messages_per_second=1)
    ada = await bare.agent("ada")
    sent = [await ada.send("memory_update", **GOOD) for _ in range(30)]
    error = await ada.frame("error")
    assert error["code"] == "rate_limited"
    assert error["retryable"] is True
    assert error["retry_after"] > 0
    answers = [await ada.answer(one) for one in sent]
    assert len(await bare.log()) == len([one for one in answers if one["type"] == "accepted"]) < 30


async def test_who_causes_nothing_but_errors_is_sent_away(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    for _ in range(60):
        await ada.raw("?" * 100)
        for _ in range(60):
            if ada.socket.close_code is None and ada.socket.state.name == "OPEN":
                await ada.socket.send("?")
    assert await ada.closed() == 4429
    assert (await ada.frame("goodbye"))["retry_after"] >= 1
    await bob.alive()
