"""For every door and every check: somebody who keeps to all of them but that one, and what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import jwt
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from backchannel.delivery.doors import Check, Door
from backchannel.domain.supervision.callback import Leave
from backchannel.service.rights import Rights
from tests.build import content
from tests.eventually import eventually
from tests.promises.native import Native
from tests.promises.running import WAIT, Platform
from tests.promises.test_f3_callbacks import key
from tests.promises.test_f5_audit import trail, until

HTTP = (Door.STORE, Door.APPROVALS, Door.LEAVE, Door.NUMBERS)
UNDER_WAY = 32
"""Requests of one sender that may be under way (bridge.http_doors)."""

SLOTS = 48
"""HTTP connections that the platform of these tests takes."""

DEEP = b'{"a":' + b"[" * 100_000


@dataclass
class Scene:
    """A platform, what is in force there, and what is left of a key that is retired meanwhile: tokens, whose
    they are, and a native connection that came by one."""

    platform: Platform
    rights: Rights
    retired: dict[Door, str] = field(default_factory=dict)
    names: dict[Door, str] = field(default_factory=dict)
    former: Native | None = None


Driver = Callable[[Scene, Door], Awaitable[None]]
DRIVERS: dict[tuple[Door, Check], Driver] = {}

ELSEWHERE: frozenset[tuple[Door, Check]] = frozenset()
"""Cells that have no driver yet, by name. One that is neither here nor has a driver fails, and so does one
that is in both: whoever drives a cell takes it out."""


def drives(check: Check, *doors: Door) -> Callable[[Driver], Driver]:
    def register(driver: Driver) -> Driver:
        for door in doors:
            assert (door, check) not in DRIVERS, (door, check)
            DRIVERS[door, check] = driver
        return driver

    return register


@dataclass
class Told:
    """The answer to a request."""

    status: int
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body)


def name(what: str = "who") -> str:
    return f"{what}-{secrets.token_hex(4)}"


def leave(platform: Platform, human: str, request_id: str, *, iat: int | None = None) -> str:
    now = int(time.time()) if iat is None else iat
    return Leave("main", human, request_id, now, now + 600).written(key(platform))


@dataclass
class Wish:
    """A request that every check lets pass; the answer is 200, or 404 for a request nobody made.

    `who` is somebody new: a human where only they may come in.
    """

    scene: Scene
    door: Door
    who: str = field(default_factory=name)
    request_id: str = field(default_factory=lambda: name("never-asked"))
    headers: dict[str, str] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    token: str = ""
    body: bytes | None = None

    def __post_init__(self) -> None:
        platform = self.scene.platform
        human = {"entity_type": "human"} if self.door is Door.APPROVALS else {}
        if not self.token and self.door is Door.LEAVE:
            self.token = leave(platform, self.who, self.request_id)
        elif not self.token:
            self.token = platform.signed(self.who, **human | self.claims)
        if self.door is Door.STORE and self.body is None:
            said = content("memory_update", context_id="main", exchange={"content": "stored"})
            self.body = json.dumps(said).encode()
        elif self.door in (Door.APPROVALS, Door.LEAVE) and self.body is None:
            self.body = b'{"approved":true,"reason":"It is fine."}'

    def head(self, length: int | None) -> bytes:
        where = {Door.STORE: "POST /store", Door.NUMBERS: "GET /metrics", Door.PAGE: "GET /"}
        line = where.get(self.door, f"POST /approvals/{self.request_id}")
        told = {"Host": "localhost"}
        if self.door is not Door.PAGE:
            told["Authorization"] = f"Bearer {self.token}"
        if self.door is Door.NUMBERS:
            told["X-Forwarded-For"] = "192.0.2.7"  # else who is on this machine needs no token
        told |= self.headers
        if length is not None:
            told["Content-Length"] = str(length)
        lines = [f"{line} HTTP/1.1", *(f"{header}: {value}" for header, value in told.items() if value)]
        return "\r\n".join([*lines, "", ""]).encode()

    async def ask(self) -> Told:
        body = self.body or b""
        return await exchange(
            self.scene.platform, self.head(len(body) if self.body is not None else None) + body
        )

    @contextlib.asynccontextmanager
    async def pending(self, number: int) -> Any:
        """So many requests of this sender that have been asked for their bodies, and have not sent them."""
        writers = []
        for _ in range(number):
            reader, writer = await dial(self.scene.platform)
            self.headers["Expect"] = "100-continue"
            writer.write(self.head(9))
            async with asyncio.timeout(WAIT):
                assert (await reader.readline()).startswith(b"HTTP/1.1 100 ")
            writers.append(writer)
        del self.headers["Expect"]
        yield
        for writer in writers:
            writer.close()


async def dial(platform: Platform) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = platform.http.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def exchange(platform: Platform, request: bytes) -> Told:
    """One request as it stands, and its answer."""
    reader, writer = await dial(platform)
    try:
        writer.write(request)
        async with asyncio.timeout(WAIT):
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            body = await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
        return Told(int(head.split(b" ", 2)[1]), body)
    finally:
        writer.close()


async def knock(scene: Scene, token: str | None, **headers: str) -> int:
    """The status of a WebSocket handshake; 101 is hung up again."""
    shown = {"X-Memory-Auth": token} if token is not None else {}
    try:
        async with connect(
            scene.platform.ws, additional_headers=shown | headers, open_timeout=WAIT, close_timeout=WAIT
        ):
            return 101
    except InvalidStatus as refusal:
        return refusal.response.status_code


async def shake(scene: Scene, host: str) -> int:
    """The same by hand, under another name."""
    token = scene.platform.signed(name())
    request = (
        f"GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"X-Memory-Auth: {token}\r\n\r\n"
    )
    return (await exchange(scene.platform, request.encode())).status


def forged(who: str, **claims: Any) -> str:
    now = int(time.time())
    said = {"sub": who, "aud": "backchannel", "iat": now, "exp": now + 600, "jti": "forged"}
    return jwt.encode(said | claims, b"f" * 32, algorithm="HS256")


# ---- HTTP


@drives(Check.HOST, *HTTP, Door.PAGE)
async def under_another_name(scene: Scene, door: Door) -> None:
    assert (await Wish(scene, door, headers={"Host": "evil.example"}).ask()).status == 421


@drives(Check.ORIGIN, *HTTP)
async def from_a_foreign_page(scene: Scene, door: Door) -> None:
    assert (await Wish(scene, door, headers={"Origin": "http://evil.example"}).ask()).status == 403


@drives(Check.IDENTITY, Door.STORE, Door.APPROVALS, Door.NUMBERS)
async def with_a_forged_token(scene: Scene, door: Door) -> None:
    assert (await Wish(scene, door, token=forged("eve", entity_type="human")).ask()).status == 401
    assert (await Wish(scene, door, headers={"Authorization": ""}).ask()).status == 401


@drives(Check.IDENTITY, Door.LEAVE)
async def with_a_forged_leave(scene: Scene, door: Door) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    now, asked = int(time.time()), name("asked")
    said = Leave("main", "hugo", asked, now, now + 600)
    of_another_key = said.written(Ed25519PrivateKey.generate())
    by_a_secret = forged("hugo", aud="backchannel-answer", group="main", jti=asked)
    for token in (of_another_key, by_a_secret, of_another_key[:-4] + "AAAA"):
        assert (await Wish(scene, door, token=token, request_id=asked).ask()).status == 403


@drives(Check.ROOM, *HTTP)
async def with_too_many_requests_under_way(scene: Scene, door: Door) -> None:
    """By its own door, or by another one where there is nothing to wait for."""
    by = Door.STORE if door is Door.NUMBERS else door
    waiting = Wish(scene, by)
    wish = Wish(scene, door, waiting.who, waiting.request_id)
    async with waiting.pending(UNDER_WAY):
        told = await wish.ask()
        assert (told.status, told.json()["code"]) == (429, "rate_limited")
    assert (await Wish(scene, door).ask()).status in (200, 404)


@drives(Check.ROOM, Door.PAGE)
async def where_there_is_no_room(scene: Scene, door: Door) -> None:
    """Everybody who is served stays, and an orchestrator is told all the same that the process lives."""
    one, other = Wish(scene, Door.STORE), Wish(scene, Door.STORE)
    async with one.pending(UNDER_WAY), other.pending(SLOTS - UNDER_WAY):
        assert (await Wish(scene, door).ask()).status == 503
        alive = await exchange(scene.platform, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (alive.status, alive.json()) == (200, {"status": "live"})


@drives(Check.SIZE, Door.STORE, Door.APPROVALS, Door.LEAVE)
async def with_too_much(scene: Scene, door: Door) -> None:
    most = 1_048_576 if door is Door.STORE else 65_536
    said = {"approved": True, "reason": "Yes.", "conditions": ["x" * most]}
    told = await Wish(scene, door, body=json.dumps(said).encode()).ask()
    assert (told.status, told.json()["code"]) == (413, "too_large")


@drives(Check.PACE, *HTTP)
async def too_fast(scene: Scene, door: Door) -> None:
    wish = Wish(scene, door)
    async with asyncio.timeout(WAIT):  # a moment passes until the pace of these tests is in force
        while (told := await wish.ask()).status != 429:
            assert told.status in (200, 404)
            wish.body = wish.body and Wish(scene, door).body
    assert told.json()["code"] == "rate_limited"


@drives(Check.WORK, Door.STORE, Door.APPROVALS, Door.LEAVE)
async def with_what_takes_long_to_read(scene: Scene, door: Door) -> None:
    told = await Wish(scene, door, body=DEEP[:60_000]).ask()
    assert (told.status, told.json()["code"]) == (422, "bad_frame")


@drives(Check.NONCE, Door.STORE, Door.APPROVALS, Door.NUMBERS)
async def with_a_token_that_was_used(scene: Scene, door: Door) -> None:
    """At this door, or at another: and used here it is used up everywhere."""
    wish = Wish(scene, door, claims={"nonce": secrets.token_hex(8)})
    assert (await wish.ask()).status in (200, 404)
    told = await wish.ask()
    assert (told.status, told.json()["code"]) == (403, "forbidden")
    raw = await scene.platform.connect(wish.token)
    await raw.send_raw({"type": "hello"})
    assert await raw.closed() == 4403
    elsewhere = Wish(scene, door, claims={"nonce": secrets.token_hex(8)})
    await scene.platform.enter(elsewhere.token)
    assert (await elsewhere.ask()).status == 403


@drives(Check.KEY, Door.STORE, Door.APPROVALS, Door.NUMBERS)
async def with_a_token_of_a_retired_key(scene: Scene, door: Door) -> None:
    assert (await Wish(scene, door, token=scene.retired[door]).ask()).status == 401


@drives(Check.REVOCATION, *HTTP)
async def sent_away(scene: Scene, door: Door) -> None:
    """While its body is on its way, or before it came."""
    wish = Wish(scene, door)
    reader, writer = await dial(scene.platform)
    if door is not Door.NUMBERS:
        wish.headers["Expect"] = "100-continue"
        writer.write(wish.head(len(wish.body or b"")))
        async with asyncio.timeout(WAIT):
            assert (await reader.readline()).startswith(b"HTTP/1.1 100 ")
            await reader.readline()
    later = time.time() + 3600
    await scene.rights.put("main", wish.who, by="op", reason="A test.", barred_until=later)
    again = Wish(scene, door, wish.who, wish.request_id)
    await eventually(again.ask, lambda told: told.status == 403)  # the change is milliseconds behind
    if door is not Door.NUMBERS:
        writer.write(wish.body or b"")
        async with asyncio.timeout(WAIT):
            assert int((await reader.readline()).split()[1]) in (401, 403)
    writer.close()


@drives(Check.RIGHTS, Door.STORE)
async def without_access_to_memory(scene: Scene, door: Door) -> None:
    assert (await Wish(scene, door, claims={"can_access_memory": False}).ask()).status == 403


@drives(Check.RIGHTS, Door.APPROVALS)
async def as_anybody_but_a_human(scene: Scene, door: Door) -> None:
    for kind in ("agent", "service"):
        assert (await Wish(scene, door, claims={"entity_type": kind}).ask()).status == 403


@drives(Check.RIGHTS, Door.LEAVE)
async def with_more_than_one_answer(scene: Scene, door: Door) -> None:
    for wider in ({"together": True}, {"allow": {"seconds": 86_400}}, {"decisions": []}):
        body = json.dumps({"approved": True, "reason": "All of them."} | wider).encode()
        told = await Wish(scene, door, body=body).ask()
        assert (told.status, told.json()["field"]) == (403, *wider)
    other = Wish(scene, door)
    assert (await Wish(scene, door, token=other.token).ask()).status == 403


@drives(Check.AUDIT, Door.STORE, Door.APPROVALS, Door.LEAVE)
async def refused_on_record(scene: Scene, door: Door) -> None:
    wish = Wish(scene, door, body=b" " * 1_048_577)
    assert (await wish.ask()).status == 413
    record = await until(scene.platform, "refused", entity=wish.who)
    assert record["facts"]["code"] == "too_large" and record["facts"]["where"] == door.value


async def turned_away(scene: Scene, reason: str) -> None:
    """There is a record of strangers who were refused for that, alone or together with others."""

    async def look() -> bool:
        found = await trail(scene.platform, entity="unknown")
        return any(one["facts"].get("reason") == reason for one in found)

    assert await eventually(look)


@drives(Check.AUDIT, Door.NUMBERS)
async def a_stranger_on_record(scene: Scene, door: Door) -> None:
    assert (await Wish(scene, door, headers={"Authorization": ""}).ask()).status == 401
    await turned_away(scene, "no_token")


@drives(Check.AUDIT, Door.PAGE)
async def another_name_on_record(scene: Scene, door: Door) -> None:
    assert (await Wish(scene, door, headers={"Host": "rebound.example"}).ask()).status == 421
    await turned_away(scene, "wrong_host")


# ---- WebSocket

WS = Door.WEBSOCKET


@drives(Check.HOST, WS)
async def a_handshake_under_another_name(scene: Scene, door: Door) -> None:
    assert await shake(scene, "localhost") == 101
    assert await shake(scene, "evil.example") == 421


@drives(Check.ORIGIN, WS)
async def a_handshake_from_a_foreign_page(scene: Scene, door: Door) -> None:
    assert await knock(scene, scene.platform.signed(name()), Origin="http://evil.example") == 403


@drives(Check.ROOM, WS)
async def too_many_that_do_not_say_who_they_are(scene: Scene, door: Door) -> None:
    page = scene.platform.http
    async with contextlib.AsyncExitStack() as here:
        for _ in range(2):
            await here.enter_async_context(connect(scene.platform.ws, origin=page))  # type: ignore[arg-type]
        assert await knock(scene, None, Origin=page) == 429


@drives(Check.IDENTITY, WS)
async def a_handshake_with_a_forged_token(scene: Scene, door: Door) -> None:
    assert await knock(scene, forged("eve")) == 401


@drives(Check.KEY, WS)
async def a_connection_whose_key_was_retired(scene: Scene, door: Door) -> None:
    assert await knock(scene, scene.retired[door]) == 401


@drives(Check.REVOCATION, WS)
async def a_connection_that_is_sent_away(scene: Scene, door: Door) -> None:
    who = name()
    raw = await scene.platform.agent(who)
    later = time.time() + 3600
    await scene.rights.put("main", who, by="op", reason="A test.", barred_until=later)
    assert await raw.closed() == 4403
    assert await knock(scene, scene.platform.signed(who)) == 403


@drives(Check.NONCE, WS)
async def a_second_connection_with_one_nonce(scene: Scene, door: Door) -> None:
    token = scene.platform.signed(name(), nonce=secrets.token_hex(8))
    await (await scene.platform.enter(token)).close()
    raw = await scene.platform.connect(token)
    await raw.send_raw({"type": "hello"})
    assert await raw.closed() == 4403


@drives(Check.SIZE, WS)
async def a_frame_that_is_too_large(scene: Scene, door: Door) -> None:
    raw = await scene.platform.agent(name())
    await raw.send("memory_update", context_id="main", exchange={"content": "x" * 1_100_000})
    assert (await raw.until("error"))["code"] == "too_large"


@drives(Check.WORK, WS)
async def a_frame_that_takes_long_to_read(scene: Scene, door: Door) -> None:
    raw = await scene.platform.agent(name())
    await raw.send_raw(DEEP.decode())
    assert (await raw.until("error"))["code"] == "bad_frame"


@drives(Check.PACE, WS)
async def frames_that_come_too_fast(scene: Scene, door: Door) -> None:
    raw = await scene.platform.agent(name())
    for _ in range(100):
        await raw.send_raw({"type": "query", "query": "nothing"})
    assert (await raw.find(lambda frame: frame.get("code") == "rate_limited"))["retry_after"] > 0


@drives(Check.RIGHTS, WS)
async def a_frame_without_access_to_memory(scene: Scene, door: Door) -> None:
    raw = await scene.platform.enter(scene.platform.signed(name(), can_access_memory=False))
    told = await raw.ask("memory_update", context_id="main", exchange={"content": "no"})
    assert told["code"] == "forbidden"


@drives(Check.AUDIT, WS)
async def a_refused_frame_on_record(scene: Scene, door: Door) -> None:
    who = name()
    raw = await scene.platform.enter(scene.platform.signed(who, can_access_memory=False))
    await raw.ask("memory_update", context_id="main", exchange={"content": "no"})
    assert (await until(scene.platform, "refused", entity=who))["facts"]["code"] == "forbidden"


@drives(Check.BYTES, Door.STORE, Door.APPROVALS, Door.LEAVE)
async def with_too_many_bytes_a_second(scene: Scene, door: Door) -> None:
    """Five seconds' worth may come at once; the answers to requests are small, so that takes several."""
    wish = Wish(scene, door)
    text = "x" * (200_000 if door is Door.STORE else 60_000)
    if door is Door.STORE:
        said = content("memory_update", context_id="main", exchange={"content": text})
    else:
        said = {"approved": True, "reason": "It is fine.", "notes": text}
    wish.body = json.dumps(said).encode()
    told = [await wish.ask() for _ in range(2 if door is Door.STORE else 7)]
    assert told[-1].status == 429 and "bytes" in told[-1].json()["message"], told[-1]


@drives(Check.BYTES, Door.WEBSOCKET)
async def with_too_many_bytes_a_second_on_a_connection(scene: Scene, door: Door) -> None:
    raw = await scene.platform.agent(name())
    for answer in ("accepted", "error"):
        told = await raw.ask("memory_update", context_id="main", exchange={"content": "x" * 200_000})
        assert told["type"] == answer, told
    assert told["code"] == "rate_limited" and "bytes" in told["message"], told
