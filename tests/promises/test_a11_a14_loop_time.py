"""Rows A11, A14, B5 and D4: whatever one agent sends, the others are served meanwhile."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.frames import BINARY, CONT, PING, PONG, TEXT

from tests.build import content
from tests.promises.flooding import Flood, framed, packed
from tests.promises.running import Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")

FLOOD = 48 << 20
"""Bytes: some times more than all buffers between the two hold."""

MESSAGES = 12


def said(kind: str, **fields: Any) -> bytes:
    return framed(TEXT, json.dumps(content(kind, **fields)).encode())


def deflated(data: bytes) -> bytes:
    return framed(TEXT, packed(data), deflated=True)


OFFENCES: dict[str, tuple[bytes, bytes]] = {
    "empty pieces": (framed(TEXT, b"", fin=False), framed(CONT, b"", fin=False)),
    "tiny pieces": (framed(TEXT, b"a", fin=False), framed(CONT, b"a", fin=False)),
    "pongs nobody asked for": (b"", framed(PONG, b"")),
    "pings": (b"", framed(PING, b"")),
    "acknowledgements of nothing": (b"", framed(TEXT, b'{"type":"ack"}')),
    "acknowledgements of much": (
        b"",
        framed(TEXT, json.dumps({"type": "ack", "message_ids": ["x" * 100] * 1000}).encode()),
    ),
    "pings of the application": (b"", framed(TEXT, b'{"type":"ping"}')),
    "no JSON": (b"", framed(TEXT, b"{")),
    "no object": (b"", framed(TEXT, b"1")),
    "no such type": (b"", framed(TEXT, b'{"type":"x"}')),
    "no text": (b"", framed(BINARY, b"x")),
    "hellos": (b"", framed(TEXT, b'{"type":"hello"}')),
    "subscriptions": (b"", said("subscription_update", mode="focused", focus=["*a" * 8] * 200)),
    "lines": (b"", said("quality_update", slow_connection="summaries", mbps=0.1)),
    "queries": (b"", said("query", query="agents", params={})),
    "infodumps": (b"", said("infodump", pattern="a?" * 2000 + "b")),
    "renewals": (b"", said("renew", token="x" * 200)),
    "too much": (b"", framed(TEXT, b'{"a":"' + b"a" * 1_300_000 + b'"}')),
    "lists of lists": (b"", framed(TEXT, b'{"a":[' + b"[]," * 300_000 + b"[]]}")),
    "deflated garbage": (b"", deflated(b'{"a":"' + b"a" * 1_400_000)),
    "deflated lists of lists": (b"", deflated(b'{"a":[' + b"[]," * 300_000 + b"[]]}")),
    "faults": (
        b"",
        deflated(json.dumps(content("sidebar_spawn", inherited_context=[{}] * 200_000)).encode()),
    ),
}


async def serve(honest: Raw, count: int = MESSAGES) -> None:
    """So many messages, one after the other, each accepted."""
    for number in range(count):
        told = await honest.ask("memory_update", context_id="main", exchange={"content": f"{number}"})
        assert told["type"] == "accepted", told


@pytest.mark.parametrize("offence", OFFENCES)
async def test_others_are_served_while_an_agent_sends_what_it_can(platform: Platform, offence: str) -> None:
    agent = "mal-" + offence.lower().replace(" ", "-")
    honest = await platform.agent("honest")
    flood = await Flood.begin(platform, agent, deflate=True)
    sending = asyncio.create_task(flood.send(*OFFENCES[offence], FLOOD))
    try:
        await serve(honest)
        assert (
            not flood.has_sent_all
        )  # it stands and waits, or was closed, for going too far and nothing else
        assert flood.code in (None, 4429)
    finally:
        await flood.end()
        await sending
    await serve(honest, 1)


async def test_two_connections_of_an_agent_have_one_account(platform: Platform) -> None:
    honest = await platform.agent("honest")
    floods = [await Flood.begin(platform, "twofold") for _ in range(2)]
    sending = [asyncio.create_task(one.send(*OFFENCES["no such type"], FLOOD)) for one in floods]
    try:
        await serve(honest)
        assert not any(one.has_sent_all for one in floods)
    finally:
        for one in floods:
            await one.end()
        await asyncio.gather(*sending)


async def test_whoever_sends_nothing_but_empty_frames_is_told_to_come_back_slower(platform: Platform) -> None:
    flood = await Flood.begin(platform, "empty")
    await flood.send(b"", framed(PONG, b""), FLOOD)
    assert await flood.closed() == 4429
    await flood.end()


async def test_d9_a_pattern_over_long_texts_lets_others_go_on(platform: Platform) -> None:
    writer, honest = await platform.agent("writer"), await platform.agent("honest")
    for _ in range(3):
        told = await writer.ask("memory_update", context_id="main", exchange={"content": "a" * 900_000})
        assert told["type"] == "accepted", told
    asked = await writer.send("infodump", pattern="a?" * 2000 + "b", limit=0)
    served = 0
    answer = asyncio.create_task(writer.result_of(asked["message_id"]))
    while not answer.done():
        await serve(honest, 1)
        served += 1
    assert (await answer)["count"] == 0
    assert served > 5


@pytest.mark.parametrize("pattern", ["a" * 4095 + "b", "?" * 4095, "a*" * 2047 + "b", "A?" * 3 + "*a"])
async def test_d9_what_a_pattern_finds_does_not_depend_on_how_dear_it_is(
    platform: Platform, pattern: str
) -> None:
    writer = await platform.agent("writer")
    since = (await writer.ask("memory_update", context_id="main", exchange={"content": "b" * 10}))["cursor"]
    await writer.ask("memory_update", context_id="main", exchange={"content": "a" * 100_000})
    told = await writer.result("infodump", pattern=pattern, since=since, limit=0)
    assert told["count"] == (0 if pattern.endswith("b") else 1)


async def test_d11_a_text_that_names_thousands_is_refused_before_anybody_is_looked_up(
    platform: Platform,
) -> None:
    writer = await platform.agent("writer")
    text = " ".join(f"@nobody{number}" for number in range(9_000))[:65_000]
    told = await writer.ask("memory_update", context_id="main", exchange={"content": text})
    assert (told["type"], told["code"], told["field"]) == ("error", "bad_message", "content")
    assert len(told["message"]) < 200


async def test_d11_an_error_repeats_some_of_the_names_that_nobody_has(platform: Platform) -> None:
    writer = await platform.agent("writer")
    names = [f"nobody{number}" + "x" * 50 for number in range(250)]
    text = " ".join(f"@{name}" for name in names[:32])
    told = await writer.ask("memory_update", context_id="main", exchange={"content": text})
    assert told["code"] == "unknown_agent" and "and 16 more" in told["message"]
    told = await writer.ask("mention_route", target_agents=names, message="are you there?")
    assert told["code"] == "unknown_agent" and len(told["message"]) < 2_000


async def test_d8_nothing_that_a_client_sends_is_a_traceback_in_the_log(platform: Platform) -> None:
    """Deep, huge, broken, doubled: each is answered, and none is a mistake of ours."""
    agent = await platform.agent("odd")
    odd = [
        b'{"a":' + b"[" * 100_000,
        b'{"a":' + b"[" * 150 + b"]" * 150 + b"}",
        b'{"message_id":' + b"9" * 5_000 + b"}",
        b'{"type":' + b"9" * 4_000 + b"}",
        b'{"type":1e400}',
        b'{"type":NaN}',
        b'{"type":"\\ud800"}',
        b'{"type":"ping","type":"query","type":[]}',
        b'{"type":{"type":{}}}',
        b'{"type":"ack","cursor":"0000aaaa.' + b"9" * 400 + b'"}',
        b'{"type":"ack","message_ids":[' + b'"x",' * 900 + b'"y"]}',
        b"[]",
        b"null",
        b"",
        b" " * 100_000,
        b'{"type":"infodump","since":"' + b"-" * 4_000 + b'"}',
    ]
    for one in odd:
        await agent.send_raw(one.decode())
    sent = await agent.send("query", query="agents", params={"a": 10**300, "b": [[[]]] * 1000})
    await agent.result_of(sent["message_id"])
    logged = (platform.data / "logs" / "bridge.log").read_text()
    assert "Traceback" not in logged and '"exception"' not in logged
