"""Who gets in, and what the others are told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from websockets.exceptions import InvalidStatus

from backchannel.delivery import token as tokens
from backchannel.errors import Expired
from backchannel.service.keyring import Keyring, WrongGroup
from bridge.blotter import LINES_PER_SECOND, Blotter
from bridge.upgrade import Gate, TurnedAway, own_origins
from tests.bridge.conftest import KEY, Opener, Running, hang_up, read_head, status_of


@pytest.fixture
def events() -> Iterator[list[dict[str, Any]]]:
    """What is logged."""
    with structlog.testing.capture_logs() as captured:
        yield captured


def headers_of(answer: bytes) -> dict[str, str]:
    head = answer.partition(b"\r\n\r\n")[0].decode("latin-1")
    lines = (line.partition(": ") for line in head.split("\r\n")[1:])
    return {name.lower(): value for name, _, value in lines}


async def admitted(bridge: Running, *headers: str) -> dict[str, str]:
    """The answer's headers to a handshake that must be accepted."""
    reader, writer = await bridge.dial()
    writer.write(bridge.handshake(*headers))
    head = await read_head(reader)
    assert status_of(head) == 101, head
    await hang_up(writer)
    return headers_of(head)


@pytest.mark.parametrize(
    "header",
    [
        "X-Memory-Auth: {}",
        "x-memory-auth:{}  ",
        "Authorization: Bearer {}",
        "authorization: bearer   {}",
        "Sec-WebSocket-Protocol: backchannel.v1, bearer.{}",
        "Sec-WebSocket-Protocol: bearer.{}, backchannel.v1",
        "Sec-WebSocket-Protocol: bearer.{}",
    ],
)
async def test_a_token_may_come_in_three_ways(bridge: Running, header: str) -> None:
    await admitted(bridge, header.format(bridge.token("scout")))
    claims = (await bridge.hotel.guest()).wire.claims
    assert claims is not None and claims.sub == "scout"


async def test_our_subprotocol_is_selected_and_the_token_is_never_repeated(bridge: Running) -> None:
    token = bridge.token()
    answer = await admitted(bridge, f"Sec-WebSocket-Protocol: chat, bearer.{token}, backchannel.v1")
    assert answer["sec-websocket-protocol"] == "backchannel.v1"
    assert token not in str(answer)


@pytest.mark.parametrize("offer", ["backchannel.v1", "chat,  backchannel.v1"])
async def test_our_subprotocol_may_be_offered_alone(bridge: Running, offer: str) -> None:
    answer = await admitted(bridge, f"X-Memory-Auth: {bridge.token()}", f"Sec-WebSocket-Protocol: {offer}")
    assert answer["sec-websocket-protocol"] == "backchannel.v1"


@pytest.mark.parametrize("offer", [(), ("Sec-WebSocket-Protocol: chat",)])
async def test_a_client_need_not_offer_it(bridge: Running, offer: tuple[str, ...]) -> None:
    answer = await admitted(bridge, f"X-Memory-Auth: {bridge.token()}", *offer)
    assert "sec-websocket-protocol" not in answer


async def test_compression_is_agreed_to_where_it_is_offered_and_without_memory(bridge: Running) -> None:
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
    token = f"X-Memory-Auth: {bridge.token()}"
    agreed = (await admitted(bridge, token, offer))["sec-websocket-extensions"]
    assert "server_no_context_takeover" in agreed and "client_no_context_takeover" in agreed
    assert "sec-websocket-extensions" not in await admitted(bridge, token)


async def test_the_same_token_twice_is_one_token(bridge: Running) -> None:
    token = bridge.token()
    await admitted(bridge, f"X-Memory-Auth: {token}", f"Authorization: Bearer {token}")


def bad_tokens(bridge: Running) -> dict[str, list[str]]:
    good, other = bridge.token(), bridge.token("other")
    head, body, signature = good.split(".")
    none = "eyJhbGciOiJub25lIn0"
    return {
        "no_token": [],
        "bad_token": [
            "X-Memory-Auth: nonsense",
            "X-Memory-Auth:",
            f"X-Memory-Auth: {head}.{body}.{signature[::-1]}",
            f"X-Memory-Auth: {none}.{body}.",
            f"X-Memory-Auth: {bridge.token(key=b'x' * 32)}",
            "X-Memory-Auth: \xff\xfe",
            "Authorization: Bearer",
            "Sec-WebSocket-Protocol: backchannel.v1, bearer.",
            "Sec-WebSocket-Protocol: backchannel.v1, bearer.nonsense",
        ],
        "expired": [f"X-Memory-Auth: {bridge.token(lifetime=-1)}"],
        "wrong_group": [f"X-Memory-Auth: {bridge.token(collaboration_group='elsewhere')}"],
        "several_tokens": [
            f"X-Memory-Auth: {good}\r\nAuthorization: Bearer {other}",
            f"X-Memory-Auth: {good}\r\nX-Memory-Auth: {other}",
            f"X-Memory-Auth: {good}\r\nSec-WebSocket-Protocol: backchannel.v1, bearer.{other}",
        ],
    }


async def test_every_bad_token_gets_the_same_answer_and_only_the_log_knows_why(
    bridge: Running, events: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.blotter.LINES_PER_SECOND", 1000)
    answers = set()
    for reason, attempts in bad_tokens(bridge).items():
        for attempt in attempts or [""]:
            events.clear()
            head = bridge.handshake(*([attempt] if attempt else []))
            answer = await bridge.exchange(head)
            assert status_of(answer) == 401, (reason, attempt)
            answers.add(answer.partition(b"\r\n\r\n")[2])
            told = [one for one in events if one["event"] == "turned_away"]
            assert [one["reason"] for one in told] == [reason], attempt
            assert not any(part in str(told) for part in attempt.split() if len(part) > 20)
    assert answers == {b"This needs a valid token.\n"}
    assert bridge.hotel.peers == []


async def test_a_token_in_the_address_is_not_looked_at(bridge: Running) -> None:
    token = bridge.token()
    answer = await bridge.exchange(bridge.handshake(target=f"/ws?token={token}&access_token={token}"))
    assert status_of(answer) == 401
    await admitted(bridge, f"X-Memory-Auth: {token}")


async def test_other_kinds_of_authorization_are_not_a_token(bridge: Running) -> None:
    basic = "Authorization: Basic dXNlcjpwYXNzd29yZA=="
    assert status_of(await bridge.exchange(bridge.handshake(basic))) == 401
    await admitted(bridge, basic, f"X-Memory-Auth: {bridge.token()}")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_our_own_pages_may_connect_and_say_later_who_they_are(
    bridge: Running, scheme: str, host: str
) -> None:
    await admitted(bridge, f"Origin: {scheme}://{host}:{bridge.number}")
    assert (await bridge.hotel.guest()).wire.claims is None


async def test_other_pages_may_connect_when_they_are_listed(opened: Opener) -> None:
    bridge = await opened(allowed_origins=("https://dashboard.example/",))
    await admitted(bridge, "Origin: https://dashboard.example")
    assert status_of(await bridge.exchange(bridge.handshake("Origin: https://example"))) == 403


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "", "http://localhost", "http://localhost:1", "http://localhost.evil:{}"],
)
async def test_pages_from_elsewhere_are_refused_even_with_a_token(bridge: Running, origin: str) -> None:
    origin = origin.format(bridge.number)
    for token in ([], [f"X-Memory-Auth: {bridge.token()}"]):
        answer = await bridge.exchange(bridge.handshake(f"Origin: {origin}", *token))
        assert status_of(answer) == 403
    assert bridge.hotel.peers == []


async def test_one_good_origin_among_bad_ones_does_not_help(bridge: Running) -> None:
    answer = await bridge.exchange(
        bridge.handshake(f"Origin: {bridge.origin}", "Origin: http://evil.example")
    )
    assert status_of(answer) == 400


async def test_our_own_page_with_a_bad_token_is_refused(bridge: Running) -> None:
    answer = await bridge.exchange(bridge.handshake(f"Origin: {bridge.origin}", "X-Memory-Auth: nonsense"))
    assert status_of(answer) == 401


async def test_websockets_are_found_at_one_address_only(bridge: Running) -> None:
    token = f"X-Memory-Auth: {bridge.token()}"
    for target in ("/", "/WS", "/ws/", "/wss", "//ws", "/health", "http://localhost/ws"):
        assert status_of(await bridge.exchange(bridge.handshake(token, target=target))) == 404, target
    reader, writer = await bridge.dial()
    writer.write(bridge.handshake(token, target="/ws?anything"))
    assert status_of(await read_head(reader)) == 101
    await hang_up(writer)


@pytest.mark.parametrize(
    ("old", "new", "status", "header"),
    [
        (b"GET", b"POST", 405, ("allow", "GET")),
        (b"Connection: Upgrade", b"Connection: keep-alive", 426, ("upgrade", "websocket")),
        (b"Version: 13", b"Version: 8", 426, ("sec-websocket-version", "13")),
        (b"Sec-WebSocket-Version: 13", b"X: y", 426, ("sec-websocket-version", "13")),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ=", 400, ("connection", "close")),
        (b"Sec-WebSocket-Key", b"X-Key", 400, ("connection", "close")),
        (b"Host: localhost", b"Content-Length: 5", 400, ("connection", "close")),
        (b"Host: localhost", b"Transfer-Encoding: chunked", 400, ("connection", "close")),
        (b"Host: localhost", b"not a header", 400, ("connection", "close")),
        (b"Host: localhost", b"Sec-WebSocket-Protocol: ,;,", 400, ("connection", "close")),
    ],
)
async def test_a_wrong_handshake_is_answered_with_what_is_wrong(
    bridge: Running, old: bytes, new: bytes, status: int, header: tuple[str, str]
) -> None:
    good = bridge.handshake(f"X-Memory-Auth: {bridge.token()}")
    answer = await bridge.exchange(good.replace(old, new))
    assert status_of(answer) == status, answer
    assert headers_of(answer)[header[0]] == header[1]


async def test_a_request_for_the_address_without_an_upgrade_is_told_to_upgrade(bridge: Running) -> None:
    answer = await bridge.exchange(b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert status_of(answer) == 426
    assert headers_of(answer)["upgrade"] == "websocket"


async def test_refusals_are_not_kept_by_anybody(bridge: Running) -> None:
    answer = headers_of(await bridge.exchange(bridge.handshake()))
    assert answer["cache-control"] == "no-store"
    assert answer["x-content-type-options"] == "nosniff"
    assert answer["www-authenticate"] == "Bearer"


async def test_a_flood_of_refusals_is_counted(bridge: Running) -> None:
    for _ in range(80):
        assert status_of(await bridge.exchange(bridge.handshake())) == 401
    assert bridge.metrics.turned_away.labels("no_token").value == 80


def test_a_flood_of_refusals_does_not_flood_the_log(events: list[dict[str, Any]]) -> None:
    clock = Clock()
    blotter = Blotter(clock)
    for _ in range(1000):
        blotter.note("bad_token", status=401, remote="10.0.0.1", detail=None)
    assert len(events) == LINES_PER_SECOND
    clock.now += 1
    blotter.note("expired", status=401, remote="10.0.0.2", detail=None)
    assert (events[-1]["reason"], events[-1]["unwritten_before"]) == ("expired", 1000 - LINES_PER_SECOND)


async def test_a_real_client_sees_the_status(bridge: Running) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with bridge.client(additional_headers={}):
            pass
    assert refused.value.response.status_code == 401
    assert refused.value.response.body == b"This needs a valid token.\n"


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def token(clock: Clock, *, lifetime: int = 60, jti: str = "1", **fields: Any) -> str:
    claims = tokens.draft("scout", now=int(clock()), lifetime=lifetime, jti=jti, fields=fields)
    return tokens.sign(claims, KEY)


def test_a_token_is_believed_until_it_expires_and_not_a_moment_longer() -> None:
    clock = Clock()
    keyring = Keyring(KEY, clock, ["main"])
    text = token(clock, lifetime=60)
    first = keyring.verify(text)
    clock.now += 58
    assert keyring.verify(text) is first  # remembered
    clock.now += 3
    with pytest.raises(Expired):
        keyring.verify(text)
    with pytest.raises(Expired):
        keyring.verify(text)


def test_a_token_for_one_connection_is_looked_at_each_time() -> None:
    clock = Clock()
    keyring = Keyring(KEY, clock, ["main"])
    text = token(clock, nonce="only-once")
    assert keyring.verify(text) is not keyring.verify(text)


def test_only_so_many_tokens_are_remembered() -> None:
    clock = Clock()
    keyring = Keyring(KEY, clock, ["main"], most=3)
    texts = [token(clock, jti=str(number)) for number in range(5)]
    claims = [keyring.verify(text) for text in texts]
    assert [keyring.verify(text) is old for text, old in zip(texts[2:], claims[2:], strict=True)] == [
        True
    ] * 3
    assert keyring.verify(texts[0]) is not claims[0]
    assert len(keyring._verified) == 3


def test_a_bad_token_is_never_remembered() -> None:
    clock = Clock()
    keyring = Keyring(KEY, clock, ["main"])
    text = token(clock)
    keyring.verify(text)
    for bad in (text[:-2], text + "x", "", "x" * 100_000, "\udc80"):
        with pytest.raises(tokens.BadToken):
            keyring.verify(bad)
    with pytest.raises(WrongGroup):
        keyring.verify(token(clock, collaboration_group="elsewhere"))
    assert len(keyring._verified) == 1


def test_a_token_that_comes_later_is_judged_alike(events: list[dict[str, Any]]) -> None:
    clock = Clock()
    gate = Gate(Keyring(KEY, clock, ["main"]), own_origins("127.0.0.1", 8002))
    assert gate.believe(token(clock)).sub == "scout"
    with pytest.raises(TurnedAway) as refused:
        gate.believe(token(clock, lifetime=-5))
    assert (refused.value.status, refused.value.reason) == (401, "expired")
    assert refused.value.message == "This needs a valid token."
    assert [one["reason"] for one in events] == ["expired"]
