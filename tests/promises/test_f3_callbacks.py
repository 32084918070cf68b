"""F3: a human's request reaches another program by a signed callback, which answers over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backchannel.domain.supervision.callback import Leave, is_ours
from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from backchannel.service.keeping import grants_of
from tests.promises.http import fetch
from tests.promises.running import WAIT, Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Receiver:
    """Somebody's program with an HTTP address; fails the first `fails` times."""

    def __init__(self, fails: int = 0) -> None:
        self.calls: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()
        self.url = ""
        self._fails = fails

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Receiver]:
        server = await asyncio.start_server(self._served, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        async with server:
            yield self

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
        plain = {name.lower(): value for name, value in headers.items()}
        body = await reader.readexactly(int(plain["content-length"]))
        self._fails -= 1
        status = "503 No" if self._fails >= 0 else "204 Yes"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        if self._fails < 0:
            self.calls.put_nowait((headers, body))

    async def next(self) -> tuple[dict[str, str], bytes]:
        async with asyncio.timeout(WAIT):
            return await self.calls.get()


def key(platform: Platform) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(grants_of(Home(platform.data).audit_key()))


async def configured(platform: Platform, **settings: Any) -> None:
    user, password = Home(platform.data).nats_login("operator")
    async with await Connection.open(Address(platform.nats, user, password), name="test") as connection:
        for name, value in settings.items():
            await Bucket(connection, "BC_config").put(f"approvals.{name}", json.dumps(value).encode())


@pytest_asyncio.fixture(loop_scope="module")
async def receiver(platform: Platform) -> AsyncIterator[Receiver]:
    async with Receiver(fails=1).listening() as found:
        await configured(platform, callbacks={"hugo": found.url}, public_url=platform.http)
        yield found


async def asked(platform: Platform, name: str) -> tuple[Raw, str]:
    claims = {"supervision_level": "high", "human_supervisor": "hugo", "tools": {"allowed": ["plan"]}}
    ada = await platform.enter(platform.signed(name, **claims))
    result = await ada.result("tool_request", tool="plan", params={"n": 1})
    return ada, str(result["request_id"])


async def decision(raw: Raw, request_id: str, verb: str) -> Frame:
    return await raw.find(
        lambda f: f["type"] == "tool_decision" and f["request_id"] == request_id and f["decision"] == verb
    )


async def test_f3_a_signed_callback_brings_the_request_and_its_answer_counts_once(
    platform: Platform, receiver: Receiver
) -> None:
    ada, request_id = await asked(platform, "ada")
    headers, body = await receiver.next()
    canonical = {name.title(): value for name, value in headers.items()}
    assert is_ours(body, canonical, key(platform).public_key())
    assert not is_ours(body + b" ", canonical, key(platform).public_key())
    told = json.loads(body)
    assert (told["request_id"], told["agent_id"], told["tool"]) == (request_id, "ada", "plan")
    answer = {
        "message_id": str(uuid4()),
        "approved": True,
        "reason": "By the pager.",
        "conditions": ["dry_run"],
    }
    url, bearer = told["answer"]["url"], f"Bearer {told['answer']['token']}"
    assert url == f"{platform.http}/approvals/{request_id}"
    done = await fetch(url, answer, Authorization=bearer)
    assert (done.status, done.json()["decision"]) == (200, "approved"), done.body
    found = await decision(ada, request_id, "approved")
    assert (found["decided_by"], found["reason"]) == ("hugo", "By the pager.")
    again = await fetch(url, {"approved": False, "reason": "Or not."}, Authorization=bearer)
    assert again.status == 409 and "hugo" in again.json()["message"]


async def test_f3_leave_is_for_one_request_one_human_and_not_to_be_forged(
    platform: Platform, receiver: Receiver
) -> None:
    _, request_id = await asked(platform, "bob")
    _, body = await receiver.next()
    _, other = await asked(platform, "cid")
    token = json.loads(body)["answer"]["token"]
    now = 2_000_000_000
    forged = Leave("main", "hugo", other, now, now + 60).written(Ed25519PrivateKey.generate())
    lapsed = Leave("main", "hugo", other, 1, 2).written(key(platform))
    agent = Leave("main", "cid", other, now - 10, now + 10**9).written(key(platform))
    yes = {"approved": True, "reason": "yes"}
    for text, status in ((token, 403), (forged, 403), (lapsed, 401), (agent, 403), ("x.y.z", 401)):
        answer = await fetch(f"{platform.http}/approvals/{other}", yes, Authorization=f"Bearer {text}")
        assert answer.status == status, (text, answer.body)
    assert (await fetch(f"{platform.http}/approvals/{other}", yes)).status == 401
    wrong = await fetch(
        f"{platform.http}/approvals/{request_id}", {"approved": "perhaps"}, Authorization=f"Bearer {token}"
    )
    assert wrong.status == 422
    listed = await platform.json("approvals", "ls", "--state", "pending")
    assert {request_id, other} <= {one["request_id"] for one in listed["approvals"]}


async def test_f3_a_human_answers_over_http_with_a_token_and_an_agent_does_not(platform: Platform) -> None:
    ada, request_id = await asked(platform, "dora")
    url, yes = f"{platform.http}/approvals/{request_id}", {"approved": True, "reason": "yes"}
    refused = await fetch(url, yes, Authorization=f"Bearer {ada.token}")
    assert refused.status == 403
    hugo = platform.signed("hugo", entity_type="human")
    done = await fetch(url, yes, Authorization=f"Bearer {hugo}")
    assert done.status == 200, done.body
    await decision(ada, request_id, "approved")
    gone = await fetch(f"{platform.http}/approvals/never-asked", yes, Authorization=f"Bearer {hugo}")
    assert gone.status == 404
