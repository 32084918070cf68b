"""A13 and G3 over HTTP: by which name one calls, what strangers see, how a request ends, who has room."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from random import Random

import pytest
import pytest_asyncio

from backchannel.delivery.doors import Door
from tests.promises.doors import SLOTS, Scene, Told, Wish, dial, exchange
from tests.promises.running import WAIT, Platform

pytestmark = pytest.mark.asyncio(loop_scope="module")
PROXIED = {"X-Forwarded-For": "192.0.2.7"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def serving(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("BACKCHANNEL_MAX_REQUESTS", str(SLOTS))
        changed.setenv("BACKCHANNEL_MAX_REQUESTS_PER_ADDRESS", str(SLOTS))
        changed.setenv("BACKCHANNEL_ALLOWED_HOSTS", "bridge,*.backchannel.example")
        changed.setenv("BACKCHANNEL_ALLOWED_ORIGINS", "https://pages.example")
        platform = await Platform(tmp_path_factory.mktemp("requests")).start()
    yield platform
    assert await platform.stop() == 0


async def get(platform: Platform, path: str, host: str | None = "localhost", **headers: str) -> Told:
    told = {} if host is None else {"Host": host}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
    return await exchange(platform, "\r\n".join([*lines, "", ""]).encode())


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LocalHost.:9999", 200),
        ("127.0.0.1", 200),
        ("127.0.0.1:80", 200),
        ("[::1]:8002", 200),
        ("[::ffff:127.0.0.1]", 200),
        ("bridge:8002", 200),
        ("a.backchannel.example", 200),
        ("pages.example", 200),
        ("evil.example", 421),
        ("evil.example:8002", 421),
        ("localhost.evil.example", 421),
        ("a.b.backchannel.example", 421),
        ("backchannel.example", 421),
        ("evil.example@localhost", 421),
        ("localhost:80@evil.example", 421),
        ("localhost/evil.example", 421),
        ("localhost, evil.example", 421),
        ("192.0.2.1", 421),
        ("[2001:db8::1]", 421),
        ("2130706433", 421),
        ("127.1", 421),
        ("[127.0.0.1]", 421),
        ("", 421),
        (None, 400),
    ],
)
async def test_a13_the_platform_answers_to_its_own_names_alone(
    platform: Platform, host: str | None, status: int
) -> None:
    for page in ("/health/live", "/health", "/schema.json", "/nowhere" if status != 200 else "/"):
        told = await get(platform, page, host)
        assert told.status == status, (page, told)


async def test_a13_two_names_or_an_absolute_foreign_address_are_refused(platform: Platform) -> None:
    two = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"
    assert (await exchange(platform, two)).status == 400
    assert (await get(platform, "http://evil.example/health/live")).status == 421
    assert (await get(platform, "http://[evil/health/live")).status == 421
    old = b"GET /health/live HTTP/1.0\r\n\r\n"
    assert (await exchange(platform, old)).status == 200  # as some load balancers ask
    foreign = b"GET /health/live HTTP/1.0\r\nHost: evil.example\r\n\r\n"
    assert (await exchange(platform, foreign)).status == 421


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding:\tchunked\r\ncontent-length: 0",
        "Content-Length: +5",
        "Content-Length: 5, 6",
        "Content-Length : 5",
        "X: y\r\n Content-Length: 5\r\nContent-Length: -1",
    ],
)
async def test_a13_a_request_whose_end_may_be_in_two_places_is_refused_and_nothing_behind_it_is_read(
    platform: Platform, framing: str
) -> None:
    token = platform.signed("framer")
    head = f"POST /store HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{framing}\r\n\r\n"
    behind = "0\r\n\r\nGET /schema.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    reader, writer = await dial(platform)
    writer.write((head + behind).encode())
    async with asyncio.timeout(WAIT):
        answer = await reader.read()
    writer.close()
    assert answer.split(b" ", 2)[1] in (b"400", b"501"), answer
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_a13_an_old_client_has_no_transfer_encoding(platform: Platform) -> None:
    request = b"POST /store HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert (await exchange(platform, request)).status == 400


async def test_g3_what_is_inside_is_for_those_with_a_token_and_for_this_machine(platform: Platform) -> None:
    token = {"Authorization": f"Bearer {platform.signed('watcher')}"}
    forged = {"Authorization": "Bearer x.y.z"}
    foreign = {"Origin": "http://evil.example"}
    for headers, inside in (
        ({}, True),
        (PROXIED, False),
        ({"Forwarded": "for=192.0.2.7"}, False),
        ({"Via": "1.1 proxy"}, False),
        (PROXIED | token, True),
        (PROXIED | forged, False),
        (forged, False),
        (foreign, False),
    ):
        health = await get(platform, "/health", **headers)
        assert health.status == 200
        assert ("log" in health.json()) is inside, headers
        assert inside or health.json() == {"status": "healthy"}
        metrics = await get(platform, "/metrics", **headers)
        assert metrics.status == (200 if inside else 403 if headers is foreign else 401)
        assert (b"backchannel_sockets" in metrics.body) is inside
    for page in ("live", "ready"):
        assert (await get(platform, f"/health/{page}", **PROXIED)).status == 200


async def test_g3_who_holds_every_place_and_only_waits_keeps_nobody_out(platform: Platform) -> None:
    token = platform.signed("flood")
    idle = b"GET /schema.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    unsent = b"POST /store HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    trickle = (
        f"POST /store HTTP/1.1\r\nHost: localhost\r\nX-Memory-Auth: {token}\r\nContent-Length: 9\r\n\r\n"
    )
    held = []
    for request in (idle, unsent, b"GET /hea", b"", trickle.encode()) * (2 * SLOTS // 4):
        reader, writer = await dial(platform)
        writer.write(request)
        held.append((reader, writer))
    scene = Scene(platform, None)  # type: ignore[arg-type]
    for door in (Door.STORE, Door.APPROVALS, Door.NUMBERS, Door.PAGE):
        assert (await Wish(scene, door).ask()).status in (200, 404)
    for page in ("live", "ready"):
        assert (await get(platform, f"/health/{page}")).status == 200
    await platform.agent("not-kept-out")
    for _, writer in held:
        writer.close()


async def test_a13_nothing_a_stranger_sends_is_a_fault_of_the_bridge(platform: Platform) -> None:
    token = platform.signed("fuzz")
    chunked = "POST /store HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    known = f"{chunked}X-Memory-Auth: {token}\r\n\r\n"
    plain = f"POST /store HTTP/1.1\r\nHost: localhost\r\nX-Memory-Auth: {token}\r\nContent-Length: "
    whole = json.dumps({"type": "memory_update"})
    pieces = [
        f"{chunked}\r\nnot hex\r\n",
        f"{known}zz\r\n",
        f"{known}5\r\nabcdeXX",
        f"{known}5;a={'b' * 20_000}\r\nabcde\r\n0\r\n\r\n",
        f"{known}0\r\nX: {'y' * 20_000}\r\n\r\n",
        "POST /store HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabcGARBAGE\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n\x00\x01\x02\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nab",
        "GET /%ff%00%0a HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /approvals/%2e%2e%2f HTTP/1.1\r\nHost: localhost\r\n\r\n",
        f"POST /approvals/{'a' * 9000} HTTP/1.1\r\nHost: localhost\r\nX-Memory-Auth: {token}\r\n\r\n",
        f"{plain}{'9' * 40}\r\n\r\n",
        f"{plain}{len(whole)}\r\n\r\n{whole}",
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer é\r\n\r\n",
        "POST /approvals/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer eyJ.eyJ.x\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer a\r\nX-Memory-Auth: b\r\n\r\n",
        "POST /store HTTP/1.1\r\nHost: localhost\r\nExpect: 200-ok\r\nContent-Length: x\r\n\r\n",
    ]
    random = Random(13)
    for piece in pieces * 2:
        raw = piece.encode("latin-1")
        cut = random.randrange(1, len(raw))
        reader, writer = await dial(platform)
        writer.write(raw[:cut])
        await asyncio.sleep(0)
        writer.write(raw[cut:])
        writer.write_eof()
        async with asyncio.timeout(WAIT):
            answer = await reader.read()
        writer.close()
        assert b"HTTP/1.1 500" not in answer, piece
    said = (platform.data / "logs" / "bridge.log").read_text()
    assert "Traceback" not in said, said[-4000:]
    assert "Invalid HTTP request" not in said
