"""`POST /store`: the same door for services, by HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.bridge.conftest import read_all, status_of
from tests.bridge.house.conftest import Platform, token
from tests.build import content


async def store(platform: Platform, body: dict[str, Any], bearer: str) -> tuple[int, dict[str, Any]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", platform.bridges[0].number)
    payload = json.dumps(body).encode()
    head = (
        f"POST /store HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bearer}\r\nConnection: close\r\n"
    )
    writer.write(f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload)
    answer = await read_all(reader)
    writer.close()
    return status_of(answer), json.loads(answer.partition(b"\r\n\r\n")[2])


async def test_what_a_service_stores_is_heard(platform: Platform) -> None:
    bob = await platform.agent("bob")
    update = content("memory_update", context_id="main", exchange={"content": "from a service"})
    status, told = await store(platform, update, token("collector", entity_type="service"))
    assert status == 200
    assert told["status"] == "full"
    assert told["realtime_updates"] == "active"
    heard = await bob.hears(update["message_id"])
    assert heard["cursor"] == told["cursor"]
    assert heard["sender_agent_id"] == "collector"
    again, _ = await store(platform, update, token("collector", entity_type="service"))
    assert again == 200
    assert len(await platform.log()) == 1


async def test_what_may_not_be_stored_is_refused(platform: Platform) -> None:
    await platform.life("logins", ["ada"])
    good = content("memory_update", context_id="main", exchange={"content": "x"})
    cases: list[tuple[dict[str, Any], dict[str, Any], int]] = [
        (good | {"context_id": "logins"}, {}, 403),
        (good | {"context_id": "nowhere"}, {}, 403),
        (good | {"context_id": "a.b"}, {}, 422),
        (good | {"sender_agent_id": "bob"}, {}, 403),
        (content("agent_presence", status="idle"), {}, 422),
        (good, {"can_access_memory": False}, 403),
    ]
    before = len(await platform.log())
    for body, claims, expected in cases:
        status, told = await store(platform, body, token("collector", **claims))
        assert (status, bool(told)) == (expected, True)
    assert len(await platform.log()) == before


async def test_a11_who_stores_too_fast_over_http_is_told_when_to_come_again(platform: Platform) -> None:
    house = platform.bridges[0].house
    house.pacing.of(("main", "collector")).tune(0.001, 1.0)
    bearer = token("collector")
    update = content("memory_update", context_id="main", exchange={"content": "x"})
    assert (await store(platform, update, bearer))[0] == 200
    status, told = await store(platform, update, bearer)
    assert (status, told["code"]) == (429, "rate_limited")
    assert house.metrics.refused.labels("rate_limited").value == 1
