"""What HTTP promises: the truth about health, and a store that never says yes to what is not stored."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backchannel.errors import (
    BackchannelError,
    Conflict,
    Expired,
    Forbidden,
    Internal,
    NotFound,
    QueueFull,
    RateLimited,
    Unavailable,
    WrongSender,
)
from bridge.metrics import Numbers
from tests.bridge.conftest import PATIENCE, Opener, Running, hang_up, read_all, read_head, status_of


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    bridge: Running, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> Answer:
    """One request with the client of the standard library."""

    def talk() -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", bridge.number, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    return await asyncio.to_thread(talk)


def update(**changes: Any) -> bytes:
    message = {
        "type": "memory_update",
        "message_id": str(uuid.uuid4()),
        "timestamp": "2026-11-23T12:00:00Z",
        "context_id": "main",
        "exchange": {"content": "The certificate expires on Friday.", "topic": "tls"},
    }
    return json.dumps(message | changes).encode()


async def store(bridge: Running, body: Any = None, **headers: str) -> Answer:
    sent = {"Authorization": f"Bearer {bridge.token()}"} | headers
    return await ask(bridge, "POST", "/store", update() if body is None else body, sent)


# ---- health


async def test_a_healthy_bridge_says_so_with_all_its_parts(bridge: Running) -> None:
    answer = await ask(bridge, "GET", "/health")
    assert answer.status == 200
    report = answer.json
    assert report["status"] == "healthy"
    assert report["faults"] == []
    assert report["nats"] == {"up": True}
    assert report["log"] == {"main": {"live": True, "lag": 0}}
    assert report["handlers"] == {"answering": True}
    assert {"ring", "connections", "version", "uptime"} <= set(report)


@pytest.mark.parametrize(
    ("part", "state", "fault"),
    [
        ("handlers", {"answering": False}, "the handlers do not answer"),
        ("log", {"main": {"live": False, "lag": 0}}, "the log of main is not followed"),
        ("log", {"main": {"live": True, "lag": 5000}}, "the log of main is 5000 events ahead"),
    ],
)
async def test_a_bridge_with_a_broken_part_is_degraded_and_says_which(
    bridge: Running, part: str, state: dict[str, Any], fault: str
) -> None:
    bridge.hotel.parts[part] = state
    answer = await ask(bridge, "GET", "/health")
    assert (answer.status, answer.json["status"]) == (206, "degraded")
    assert answer.json["faults"] == [fault]
    assert (await ask(bridge, "GET", "/health/ready")).status == 200


async def test_a_bridge_without_nats_does_not_serve(bridge: Running) -> None:
    bridge.hotel.parts["nats"] = {"up": False}
    answer = await ask(bridge, "GET", "/health")
    assert (answer.status, answer.json["status"]) == (503, "not_serving")
    assert answer.json["faults"] == ["NATS cannot be reached"]
    assert (await ask(bridge, "GET", "/health/ready")).status == 503
    assert (await ask(bridge, "GET", "/health/live")).status == 200


async def test_a_starting_bridge_lives_but_does_not_serve(bridge: Running) -> None:
    bridge.hotel.ready = False
    bridge.hotel.parts = {}
    assert (await ask(bridge, "GET", "/health")).status == 503
    assert (await ask(bridge, "GET", "/health/ready")).status == 503
    assert (await ask(bridge, "GET", "/health/live")).status == 200
    answer = await store(bridge)
    assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1


async def test_connections_are_counted_by_what_they_may_do(bridge: Running) -> None:
    bridge.metrics.connections.labels("active").inc(3)
    bridge.metrics.connections.labels("observer").inc(2)
    assert (await ask(bridge, "GET", "/health")).json["connections"] == 5


# ---- metrics and schema


async def test_prometheus_can_read_the_metrics(bridge: Running) -> None:
    async with bridge.client() as client:
        await client.send("x" * 500)
        await (await bridge.hotel.guest()).until(lambda peer: bool(peer.messages))
        answer = await ask(bridge, "GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }
    assert found["backchannel_connections_opened_total",] == 1
    assert found["backchannel_messages_received_total",] == 1
    assert found["backchannel_received_bytes_total",] == 500
    assert found["backchannel_message_size_bytes_bucket", "1024"] == 1
    assert found["backchannel_message_size_bytes_bucket", "256"] == 0
    assert found["backchannel_message_size_bytes_sum",] == 500
    assert found["backchannel_sockets",] == 2


async def test_no_client_can_add_labels(bridge: Running) -> None:
    before = (await ask(bridge, "GET", "/metrics")).body.count(b"\n")
    for code in range(3000, 3050):
        async with bridge.client() as client:
            await client.close(code)
    for peer in bridge.hotel.peers:
        await peer.gone()
    after = (await ask(bridge, "GET", "/metrics")).body
    assert after.count(b"\n") == before + 1
    assert b'backchannel_connections_closed_total{code="other"} 50.0' in after


async def test_the_schema_names_every_message(bridge: Running) -> None:
    answer = await ask(bridge, "GET", "/schema.json")
    assert answer.headers["content-type"] == "application/schema+json"
    assert {"MemoryUpdate", "Hello", "Welcome", "SidebarSpawn"} <= set(answer.json["$defs"])


# ---- pages


async def test_the_root_names_the_endpoints(bridge: Running) -> None:
    answer = await ask(bridge, "GET", "/")
    assert answer.headers["content-type"].startswith("text/html")
    for name in (b"/ws", b"/health", b"/metrics", b"/schema.json", b"/store"):
        assert name in answer.body


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/nowhere", 404),
        ("DELETE", "/health", 405),
        ("GET", "/store", 405),
        ("POST", "/store", 401),
        ("GET", "/metrics", 200),
        ("OPTIONS", "/store", 405),
    ],
)
async def test_every_answer_has_the_security_headers(
    bridge: Running, method: str, path: str, status: int
) -> None:
    answer = await ask(bridge, method, path)
    assert answer.status == status
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "date" in answer.headers and "server" not in answer.headers
    if status >= 400:
        assert set(answer.json) == {"code", "message", "field"}


async def test_a_bug_in_an_endpoint_is_an_answer_too(bridge: Running) -> None:
    bridge.hotel.facts = lambda: {}[1]  # type: ignore[method-assign, misc]
    answer = await ask(bridge, "GET", "/health")
    assert (answer.status, answer.json["code"]) == (500, "internal")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await ask(bridge, "GET", "/health/live")).status == 200


@pytest.mark.parametrize("path", ["/", "/health", "/metrics", "/schema.json"])
async def test_head_is_get_without_the_body(bridge: Running, path: str) -> None:
    answer = await ask(bridge, "HEAD", path)
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


async def test_a_path_cannot_leave_the_site(bridge: Running) -> None:
    for path in ("/../etc/passwd", "/%2e%2e/etc/passwd", "//health", "/health/../metrics"):
        assert (await ask(bridge, "GET", path)).status == 404


# ---- store


async def test_a_memory_update_is_stored_and_says_where(bridge: Running) -> None:
    body = update(basis="0000abcd.3", own_field={"kept": True})
    answer = await store(bridge, body)
    assert answer.status == 200
    assert answer.json == {"status": "full", "cursor": "0000abcd.7", "realtime_updates": "active"}
    ((claims, content),) = bridge.hotel.stored
    assert claims.sub == "scout"
    assert content == json.loads(body)


async def test_stored_without_real_time_is_degraded_and_still_200(bridge: Running) -> None:
    bridge.hotel.outcome = ("degraded", "0000abcd.8", "offline", False)
    answer = await store(bridge)
    assert answer.status == 200
    assert answer.json == {"status": "degraded", "cursor": "0000abcd.8", "realtime_updates": "offline"}


async def test_what_was_stored_before_is_said_to_be_a_duplicate(bridge: Running) -> None:
    bridge.hotel.outcome = ("full", "0000abcd.7", "active", True)
    answer = await store(bridge)
    assert (answer.status, answer.json["duplicate"]) == (200, True)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("There is no such sidebar.", field="context_id"), 422),
        (Forbidden("Not for you."), 403),
        (WrongSender("That is not you."), 403),
        (Expired("Too late."), 401),
        (Conflict("Somebody was first."), 409),
        (RateLimited("Slow down.", retry_after=2.4), 429),
        (QueueFull("Too much at once."), 503),
        (Unavailable("NATS cannot be reached.", retry_after=3), 503),
        (Internal("A bug."), 500),
    ],
)
async def test_what_is_not_stored_is_never_a_200(
    bridge: Running, error: BackchannelError, status: int
) -> None:
    bridge.hotel.outcome = error
    answer = await store(bridge)
    assert answer.status == status
    assert answer.json == {"code": error.code, "message": error.message, "field": error.field}
    if status in (429, 503):
        assert answer.headers["retry-after"] == str(round(error.retry_after or 1))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "bad_frame"),
        (b"not json", "bad_frame"),
        (b"[]", "bad_frame"),
        (b'{"a": NaN}', "bad_frame"),
        (b"\xff\xfe", "bad_frame"),
        (b"[" * 100_000, "bad_frame"),
        (b"{}", "bad_message"),
        (b'{"type": 7}', "bad_message"),
        (b'{"type": "sidebar_spawn"}', "bad_message"),
    ],
)
async def test_a_body_that_is_no_memory_update_is_refused_with_422(
    bridge: Running, body: bytes, code: str
) -> None:
    answer = await store(bridge, body)
    assert (answer.status, answer.json["code"]) == (422, code)
    assert bridge.hotel.stored == []


async def test_nobody_stores_without_a_good_token(bridge: Running) -> None:
    answers = [
        await ask(bridge, "POST", "/store", update()),
        await store(bridge, Authorization="Bearer nonsense"),
        await store(bridge, Authorization=f"Bearer {bridge.token(lifetime=-1)}"),
        await store(bridge, Authorization=f"Bearer {bridge.token(collaboration_group='elsewhere')}"),
        await store(bridge, **{"X-Memory-Auth": bridge.token("other")}),
        await ask(bridge, "POST", f"/store?token={bridge.token()}", update()),
        await ask(bridge, "POST", "/store", update(), {"Origin": bridge.origin}),
    ]
    assert {answer.status for answer in answers} == {401}
    assert {answer.json["message"] for answer in answers} == {"This needs a valid token."}
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}
    assert bridge.hotel.stored == []


async def test_a_page_from_elsewhere_cannot_store(bridge: Running) -> None:
    assert (await store(bridge, Origin="http://evil.example")).status == 403
    assert (await store(bridge, Origin=bridge.origin)).status == 200


async def test_the_token_may_come_in_our_own_header(bridge: Running) -> None:
    answer = await ask(bridge, "POST", "/store", update(), {"X-Memory-Auth": bridge.token()})
    assert answer.status == 200


async def test_a_body_that_is_too_large_is_refused_with_413_and_the_connection_lives(
    bridge: Running,
) -> None:
    reader, writer = await bridge.dial()
    head = f"POST /store HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bridge.token()}\r\n"
    size = 2_000_000
    writer.write(f"{head}Content-Length: {size}\r\n\r\n".encode() + b"x" * size)
    first = await read_head(reader)
    assert status_of(first) == 413
    await reader.readuntil(b"}\n")
    assert bridge.hotel.charged == [(("main", "scout"), size)]  # it was read, if not kept
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert status_of(await read_head(reader)) == 200
    await hang_up(writer)


async def test_a_body_of_unknown_length_is_measured_while_it_comes(bridge: Running) -> None:
    pieces = (b"x" * 50_000 for _ in range(40))
    assert (await store(bridge, pieces)).status == 413
    assert (await store(bridge, iter([update()]))).status == 200


async def test_a_client_may_ask_before_it_sends_much(bridge: Running) -> None:
    reader, writer = await bridge.dial()
    head = f"POST /store HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bridge.token()}\r\n"
    body = update()
    writer.write(f"{head}Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode())
    assert status_of(await read_head(reader)) == 100
    writer.write(body)
    assert status_of(await read_head(reader)) == 200
    await hang_up(writer)
    reader, writer = await bridge.dial()
    writer.write(f"{head}Content-Length: 2000000\r\nExpect: 100-continue\r\n\r\n".encode())
    assert status_of(await read_head(reader)) == 413
    await hang_up(writer)


async def test_a_slow_body_is_given_up_with_408(opened: Opener) -> None:
    bridge = await opened(body_seconds=0.1)
    reader, writer = await bridge.dial()
    head = f"POST /store HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bridge.token()}\r\n"
    writer.write(f"{head}Content-Length: 100\r\n\r\n{{".encode())
    answer = await read_all(reader)
    assert status_of(answer) == 408
    assert bridge.hotel.stored == []
    await hang_up(writer)


@pytest.mark.parametrize("sent", [b"", b"x" * 1000])
async def test_a_body_that_does_not_come_on_is_given_up_with_408(
    opened: Opener, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr("bridge.body.FIRST_SECONDS", 0.1)
    bridge = await opened(body_bytes_per_second=1_000_000, body_seconds=3600.0)
    reader, writer = await bridge.dial()
    head = f"POST /store HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bridge.token()}\r\n"
    writer.write(f"{head}Content-Length: 100000\r\n\r\n".encode() + sent)
    assert status_of(await read_all(reader)) == 408
    assert bridge.metrics.turned_away.labels("body_too_slow").value == 1
    await hang_up(writer)


async def test_who_shows_its_schema_is_not_sent_it_again(bridge: Running) -> None:
    tag = (await ask(bridge, "GET", "/schema.json")).headers["etag"]
    again = await ask(bridge, "GET", "/schema.json", headers={"If-None-Match": tag})
    assert (again.status, again.body) == (304, b"")


async def test_those_who_ask_for_numbers_at_once_share_them(bridge: Running) -> None:
    written = []
    text = bridge.metrics.text
    numbers = Numbers(lambda: (written.append(True), text())[1])
    assert len(set(await asyncio.gather(*(numbers.text() for _ in range(50))))) <= 2
    assert len(written) == 2
    await numbers.text()
    assert len(written) == 3


async def test_a_client_that_leaves_in_the_middle_of_its_body_stores_nothing(
    bridge: Running, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await bridge.dial()
    head = f"POST /store HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bridge.token()}\r\n"
    writer.write(f"{head}Content-Length: 100\r\nExpect: 100-continue\r\n\r\n".encode())
    assert status_of(await read_head(reader)) == 100  # now it waits for the body
    writer.write(b"{")
    (answering,) = bridge.port._http.state.tasks
    await hang_up(writer)
    await asyncio.wait_for(answering, PATIENCE)
    assert bridge.hotel.stored == []
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("ending", ["close", "keep-alive"])
async def test_a_client_that_does_not_read_its_answer_is_dropped(
    opened: Opener, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr("bridge.http._schema", lambda: b"x" * 20_000_000)
    bridge = await opened(answer_seconds=0.2)
    monkeypatch.setattr(bridge.port._http.uvicorn, "timeout_keep_alive", 0.1)
    gone = asyncio.Event()
    bridge.port.crowd.on_empty = gone.set
    _, writer = await bridge.dial()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(f"GET /schema.json HTTP/1.1\r\nHost: localhost\r\nConnection: {ending}\r\n\r\n".encode())
    await asyncio.wait_for(gone.wait(), PATIENCE)
    await hang_up(writer)


async def test_nothing_that_is_answered_repeats_the_token(bridge: Running) -> None:
    token = bridge.token(lifetime=-1)
    answer = await ask(bridge, "POST", "/store", update(), {"Authorization": f"Bearer {token}"})
    assert not re.search(re.escape(token), str(answer))
