"""F2 and F4: no approval and no grant outlives the right it rests on, and no kill loses or doubles one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pydantic_core
import pytest
import pytest_asyncio

from backchannel.domain.inforce import ToolNarrowing
from backchannel.errors import Unavailable
from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.connection import Connection
from backchannel.service.rights import Rights
from tests.promises.native import Native
from tests.promises.running import WAIT, Frame, Platform, Raw
from tests.promises.test_f5_audit import trail, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def connection(serving: Platform) -> AsyncIterator[Connection]:
    user, password = Home(serving.data).nats_login("platform")
    async with await Connection.open(Address(serving.nats, user, password), name="test") as found:
        yield found


async def agent(platform: Platform, name: str, level: str, **claims: Any) -> Raw:
    held = {"supervision_level": level, "tools": {"allowed": ["file_read"]}, "human_supervisor": "hana"}
    return await platform.enter(platform.signed(name, **{**held, **claims}))


async def human(platform: Platform) -> Raw:
    return await platform.enter(platform.signed("hana", entity_type="human"))


async def decided(raw: Raw, request_id: str) -> Frame:
    return await raw.find(lambda f: f["type"] == "tool_decision" and f["request_id"] == request_id)


async def asked(raw: Raw) -> Frame:
    sent = await raw.send("tool_request", tool="file_read", params={"path": "a"})
    return await decided(raw, sent["message_id"])


async def redeem(connection: Connection, grant: str) -> Frame:
    reply = await connection.request(
        "bc.main.svc.grant.redeem",
        pydantic_core.to_json({"message_id": str(uuid4()), "grant": grant, "params": {"path": "a"}}),
        headers={"Bc-Caller": "tess", "Bc-Role": "service"},
        timeout=WAIT,
    )
    found: Frame = pydantic_core.from_json(reply.payload)
    return found


NARROWINGS: dict[str, dict[str, Any]] = {
    "locked": {"level": "locked"},
    "blocked": {"tools": ToolNarrowing(blocked=("file_read",))},
    "removed": {"tools": ToolNarrowing(removed=("file_read",))},
}


@pytest.mark.parametrize("how", [*NARROWINGS, "distrusted", "revoked"])
async def test_f2_what_was_taken_from_an_agent_meanwhile_cannot_be_approved_and_its_grants_are_void(
    platform: Platform, connection: Connection, how: str
) -> None:
    free, held = await agent(platform, f"free-{how}", "low"), await agent(platform, f"held-{how}", "high")
    hana = await human(platform)
    grant = (await asked(free))["grant"]
    waits = (await asked(held))["request_id"]
    for name in (f"free-{how}", f"held-{how}"):
        match how:
            case "distrusted":
                settled = await hana.result(
                    "trust_update", agent_id=name, tool_class="read", level="locked", reason="odd"
                )
                assert settled["status"] == "success"
            case "revoked":
                later = int(time.time()) + 1
                await Rights(connection).put("main", name, by="op", reason="stolen", revoked_before=later)
            case _:
                await Rights(connection).put("main", name, by="op", reason="odd", **NARROWINGS[how])
    refused = await hana.result("approval_response", request_id=waits, approved=True, reason="yes")
    assert (refused["status"], refused["code"]) == ("denied", "forbidden"), refused
    assert (await redeem(connection, grant))["code"] == "forbidden"
    listed = await platform.json("approvals", "ls", "--request", waits)
    assert [one["state"] for one in listed["approvals"]] == ["pending"]
    denied = await hana.result("approval_response", request_id=waits, approved=False, reason="no")
    assert denied["status"] == "success"


@pytest.mark.parametrize("how", ["locked", "blocked"])
async def test_f4_who_loses_a_grant_meanwhile_hears_it_at_once_and_only_once(
    platform: Platform, connection: Connection, how: str
) -> None:
    name = f"void-{how}"
    ada = await agent(platform, name, "low")
    granted = await asked(ada)
    await Rights(connection).put("main", name, by="op", reason="odd", **NARROWINGS[how])
    refused = [await redeem(connection, granted["grant"]) for _ in range(2)]
    assert [(one["status"], one["code"]) for one in refused] == [("denied", "forbidden")] * 2
    told = await ada.until("tool_result")
    assert (told["request_id"], told["success"]) == (granted["request_id"], False)
    assert "by op since it asked" in told["error"]
    await Rights(connection).put(
        "main", name, by="op", reason="fine again", level=None, tools=ToolNarrowing()
    )
    assert (await redeem(connection, granted["grant"]))["code"] == "forbidden", "what is void stays so"
    await ada.settled()
    assert len(ada.events("tool_result")) == 1
    await until(platform, "execute", entity=name, category="tool")
    [result] = [one for one in await trail(platform, entity=name) if one["action"] == "execute"]
    assert (result["phase"], result["facts"]["outcome"]) == ("result", "void")


async def test_f4_a_native_agent_cannot_act_as_the_worker_of_its_own_grant(platform: Platform) -> None:
    token = platform.signed("selfie", supervision_level="low", tools={"allowed": ["file_read"]})
    granted = await asked(await platform.enter(token))
    native = await Native.enter(platform.nats, "selfie", token)
    said = {"message_id": str(uuid4()), "grant": granted["grant"], "params": {"path": "a"}}
    refused = await native.offer("bc.main.svc.grant.redeem", said)
    await native.close()
    assert (refused["status"], refused["code"]) == ("denied", "forbidden")


async def test_f3_a_kill_between_request_approval_and_grant_loses_nothing_and_doubles_nothing(
    platform: Platform, connection: Connection
) -> None:
    ada, hana = await agent(platform, "kay", "high"), await human(platform)
    for number in range(3):
        sent = await ada.send("tool_request", tool="file_read", params={"path": "a"})
        if number == 0:
            platform.kill("handlers")
        assert (await decided(ada, sent["message_id"]))["decision"] == "pending"
        said = await hana.send(
            "approval_response", request_id=sent["message_id"], approved=True, reason="yes"
        )
        await hana.answer_to(said["message_id"])
        if number == 1:
            platform.kill("handlers")
        granted = await decided(ada, sent["message_id"])
        assert granted["decision"] == "approved"
        if number == 2:
            platform.kill("handlers")
        assert (await hana.result_of(said["message_id"]))["status"] == "success"
        first, second = [await redeem_when_served(connection, granted["grant"]) for _ in range(2)]
        assert (first["status"], second["code"]) == ("success", "forbidden")
    await ada.settled()
    told = [f["decision"] for f in ada.events("tool_decision")]
    assert told == ["pending", "approved"] * 3


async def redeem_when_served(connection: Connection, grant: str) -> Frame:
    """Ask, also while the handlers are being started; with the same id, for an answer may have been lost."""
    asked = {"message_id": str(uuid4()), "grant": grant, "params": {"path": "a"}}
    headers = {"Bc-Caller": "tess", "Bc-Role": "service"}
    async with asyncio.timeout(WAIT):
        while True:
            try:
                reply = await connection.request(
                    "bc.main.svc.grant.redeem", pydantic_core.to_json(asked), headers=headers, timeout=2.0
                )
            except Unavailable:
                await asyncio.sleep(0.1)
            else:
                found: Frame = pydantic_core.from_json(reply.payload)
                return found
