"""A13 at `POST /approvals`: one token one use, one leave one answer, one answer however often it is sent."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from backchannel.delivery.doors import Door
from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.connection import Connection
from backchannel.service.rights import Rights
from tests.eventually import eventually
from tests.promises.doors import Scene, Told, Wish, leave, name
from tests.promises.running import Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def scene(platform: Platform) -> AsyncIterator[Scene]:
    user, password = Home(platform.data).nats_login("platform")
    async with await Connection.open(Address(platform.nats, user, password), name="test") as connection:
        yield Scene(platform, Rights(connection))


async def asking(scene: Scene, human: str, *more: str) -> tuple[Raw, list[str]]:
    """An agent of this human, and its requests, all of one kind."""
    claims = {"supervision_level": "high", "human_supervisor": human, "tools": {"allowed": ["plan"]}}
    agent = await scene.platform.enter(scene.platform.signed(name("agent"), **claims))
    found = [await agent.result("tool_request", tool="plan", params={"n": 1}) for _ in ("", *more)]
    return agent, [str(one["request_id"]) for one in found]


async def answered(scene: Scene, request_id: str, token: str, **fields: Any) -> Told:
    body = json.dumps({"approved": True, "reason": "It is fine.", **fields}).encode()
    return await Wish(scene, Door.APPROVALS, request_id=request_id, token=token, body=body).ask()


async def states(scene: Scene, *request_ids: str) -> dict[str, str]:
    listed = (await scene.platform.json("approvals", "ls"))["approvals"]
    return {one["request_id"]: one["state"] for one in listed if one["request_id"] in request_ids}


async def test_a13_a_spent_one_use_token_approves_nothing(scene: Scene) -> None:
    human = name("human")
    _, requests = await asking(scene, human, "b", "c")
    token = scene.platform.signed(human, entity_type="human", nonce=secrets.token_hex(8))
    await scene.platform.enter(token)
    for request_id in requests:
        told = await answered(scene, request_id, token, reason="Replayed.")
        assert (told.status, told.json()["code"]) == (403, "forbidden")
    assert set((await states(scene, *requests)).values()) == {"pending"}


async def test_a13_a_fresh_one_use_token_approves_once_and_opens_nothing_afterwards(scene: Scene) -> None:
    human = name("human")
    _, (first, second) = await asking(scene, human, "b")
    token = scene.platform.signed(human, entity_type="human", nonce=secrets.token_hex(8))
    at_once = await asyncio.gather(*(answered(scene, one, token) for one in (first, second) * 5))
    assert sorted(told.status for told in at_once) == [200, *[403] * 9]
    found = await states(scene, first, second)
    assert sorted(found.values()) == ["approved", "pending"]
    assert (await Wish(scene, Door.STORE, token=token).ask()).status == 403
    raw = await scene.platform.connect(token)
    await raw.send_raw({"type": "hello"})
    assert await raw.closed() == 4403


async def test_a13_an_answer_by_leave_is_for_its_one_request(scene: Scene) -> None:
    human = name("human")
    _, (first, second) = await asking(scene, human, "b")
    shown = leave(scene.platform, human, first)
    also = {"request_id": second, "approved": True, "reason": "And this."}
    for field, value in (
        ("together", True),
        ("together", [first, second]),
        ("allow", {"seconds": 86_400}),
        ("decisions", [also]),
    ):
        told = await answered(scene, first, shown, **{field: value})
        assert (told.status, told.json()["field"]) == (403, field)
    assert (await answered(scene, second, shown)).status == 403
    assert await states(scene, first, second) == {first: "pending", second: "pending"}
    odd = {"request_id": second, "leave": "x", "more": {"together": True}}
    body = json.dumps({"approved": True, "reason": "It is fine.", **odd})
    said = await Wish(scene, Door.LEAVE, request_id=first, token=shown, body=body.encode()).ask()
    assert (said.status, said.json()["request_id"]) == (200, first)
    assert await states(scene, first, second) == {first: "approved", second: "pending"}
    assert (await scene.platform.json("approvals", "ls"))["allowances"] == []


async def test_a13_leave_lasts_no_longer_than_its_human(scene: Scene) -> None:
    human = name("human")
    _, (first,) = await asking(scene, human)
    shown = leave(scene.platform, human, first)
    until = time.time() + 3600
    await scene.rights.put("main", human, by="op", reason="Sent away.", barred_until=until)
    told = await eventually(
        lambda: answered(scene, first, shown, approved="neither"), lambda told: told.status != 422
    )
    assert (told.status, told.json()["code"]) == (403, "forbidden")
    assert (await answered(scene, first, shown)).status == 403
    assert await states(scene, first) == {first: "pending"}


@pytest.mark.parametrize("by_leave", [False, True])
async def test_a13_an_answer_that_is_repeated_is_the_same_answer(scene: Scene, by_leave: bool) -> None:
    human = name("human")
    agent, (first, second) = await asking(scene, human, "b")
    token = scene.platform.signed(human, entity_type="human")
    if by_leave:
        token = leave(scene.platform, human, first)
    message_id = str(uuid4())
    done = await answered(scene, first, token, message_id=message_id)
    again = await answered(scene, first, token, message_id=message_id)
    assert (done.status, again.status) == (200, 200)
    assert again.json() == {**done.json(), "duplicate": True}
    other = await answered(scene, first, token, message_id=str(uuid4()))
    assert (other.status, other.json()["code"]) == (409, "conflict")
    if not by_leave:
        elsewhere = await answered(scene, second, token, message_id=message_id)
        assert elsewhere.json().get("duplicate") is None
    await agent.settled()
    assert len([one for one in agent.frames if decided(one, first, "approved")]) == 1


def decided(frame: Frame, request_id: str, verb: str) -> bool:
    return (frame["type"], frame.get("request_id"), frame.get("decision")) == (
        "tool_decision",
        request_id,
        verb,
    )
