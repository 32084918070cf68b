"""F4: tools run on a grant that supervision signed, once, in time, for exactly what was granted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pydantic_core
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backchannel.client.worker import Call, Worker
from backchannel.domain.grant import Grant, digest_of_action, sign
from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.connection import Connection
from backchannel.service.keeping import grants_of
from tests.eventually import eventually
from tests.promises.native import Native
from tests.promises.running import WAIT, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")


def grant(agent: str, tool: str, params: dict[str, Any], **fields: Any) -> Grant:
    now = int(time.time())
    made = Grant(
        grant_id=uuid4().hex,
        request_id=str(uuid4()),
        group="main",
        agent=agent,
        tool=tool,
        digest=digest_of_action("main", agent, tool, params),
        conditions=(),
        policy="p",
        iat=now,
        exp=now + 120,
    )
    return replace(made, **fields)


class Desk:
    """Speaks as the platform does: calls workers, and asks for what they ask for."""

    def __init__(self, platform: Platform, connection: Connection, address: Address) -> None:
        self.platform = platform
        self.connection = connection
        self.address = address
        self.key = Ed25519PrivateKey.from_private_bytes(grants_of(Home(platform.data).audit_key()))

    async def call(self, what: Grant, params: dict[str, Any], text: str | None = None) -> None:
        """Returns when a worker says that it takes it."""
        said = {
            "grant": text or sign(what, self.key),
            "grant_id": what.grant_id,
            "request_id": what.request_id,
            "agent_id": what.agent,
            "tool": what.tool,
            "params": params,
            "conditions": [dict(one) for one in what.conditions],
        }
        await self.connection.request(f"bc.main.tool.{what.tool}", pydantic_core.to_json(said), timeout=WAIT)

    async def ask(self, name: str, worker: str, **fields: Any) -> dict[str, Any]:
        reply = await self.connection.request(
            f"bc.main.svc.grant.{name}",
            pydantic_core.to_json({"message_id": str(uuid4()), **fields}),
            headers={"Bc-Caller": worker, "Bc-Role": "service"},
            timeout=WAIT,
        )
        answer = pydantic_core.from_json(reply.payload)
        assert isinstance(answer, dict)
        return answer

    async def trail(self, grant_id: str) -> list[str]:
        """What the audit trail says of a grant, in order."""
        code, out, err = await self.platform.run("audit", "show", f"grant:{grant_id}", "--json")
        assert code in (0, 3), err
        return [record["phase"] for record in json.loads(out)] if code == 0 else []

    async def closed(self, grant_id: str) -> list[str]:
        """The same, once the result is there; it is written when all else is done."""
        return await eventually(lambda: self.trail(grant_id), lambda found: "result" in found)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def desk(serving: Platform) -> AsyncIterator[Desk]:
    user, password = Home(serving.data).nats_login("platform")
    address = Address(serving.nats, user, password)
    async with await Connection.open(address, name="test") as connection:
        yield Desk(serving, connection, address)


@contextlib.asynccontextmanager
async def at_work(worker: Worker) -> AsyncIterator[None]:
    running = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(WAIT):
            await worker.serving.wait()
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def noting(desk: Desk, tool: str, name: str = "tess", **kept: Any) -> tuple[Worker, list[Call]]:
    """A worker that notes each call it runs."""
    worker, ran = Worker(name, desk.address), list[Call]()

    @worker.tool(tool, **kept)
    async def run(call: Call) -> str:
        ran.append(call)
        return f"did {call.params['n']}"

    return worker, ran


async def test_f4_a_granted_call_runs_once_and_its_agent_and_the_trail_hear_of_it(
    desk: Desk, platform: Platform
) -> None:
    ada = await platform.agent("ada")
    worker, ran = noting(desk, "count")
    what = grant("ada", "count", {"n": 1})
    async with at_work(worker):
        await desk.call(what, {"n": 1})
        told = await ada.until("tool_result")
        assert (told["request_id"], told["success"], told["result"]) == (what.request_id, True, "did 1")
        assert told["reported_by"] == "tess"
        await desk.call(what, {"n": 1})
        again = await desk.ask("redeem", "tess", grant=sign(what, desk.key), params={"n": 1})
        assert (again["status"], again["code"]) == ("denied", "forbidden")
    assert [call.grant_id for call in ran] == [what.grant_id]
    assert await desk.closed(what.grant_id) == ["intent", "result"]


async def test_f4_two_workers_with_one_grant_run_it_once(desk: Desk, platform: Platform) -> None:
    ada = await platform.agent("ada")
    one, ran_one = noting(desk, "race", "one")
    two, ran_two = noting(desk, "race", "two")
    what = grant("ada", "race", {"n": 2})
    async with at_work(one), at_work(two):
        await asyncio.gather(*(desk.call(what, {"n": 2}) for _ in range(6)))
        await ada.until("tool_result")
    assert len(ran_one) + len(ran_two) == 1


async def test_f4_a_condition_that_a_worker_cannot_keep_ends_it_before_it_begins(
    desk: Desk, platform: Platform
) -> None:
    cond = await platform.agent("cond")
    worker, ran = noting(desk, "careful", keeps=["path_prefix"])
    what = grant("cond", "careful", {"n": 1}, conditions=({"kind": "full_moon", "value": True},))
    async with at_work(worker):
        await desk.call(what, {"n": 1})
        told = await cond.until("tool_result")
    assert (told["success"], ran) == (False, []) and "full_moon" in told["error"]


@pytest.mark.parametrize("how", ["params", "tool", "lapsed", "forged", "agent", "group"])
async def test_f4_nothing_runs_on_a_grant_that_does_not_fit(desk: Desk, platform: Platform, how: str) -> None:
    worker, ran = noting(desk, "strict", keeps=["path_prefix"])
    what, params = grant("ada", "strict", {"n": 3}), {"n": 3}
    text = None
    match how:
        case "params":
            params = {"n": 4}
        case "tool":
            text = sign(replace(what, tool="other"), desk.key)
        case "lapsed":
            what = replace(what, exp=int(time.time()) - 1)
        case "forged":
            text = sign(what, Ed25519PrivateKey.generate())
        case "agent":
            text = sign(what, desk.key)
            what = replace(what, agent="eve")
        case "group":
            text = sign(replace(what, group="other"), desk.key)
    good = grant("ada", "strict", {"n": 5})
    ada = await platform.agent("ada")
    async with at_work(worker):
        await desk.call(what, params, text)
        if how != "agent":
            answer = await desk.ask("redeem", "tess", grant=text or sign(what, desk.key), params=params)
            assert answer["status"] != "success"
        await desk.call(good, {"n": 5})
        await ada.find(lambda frame: frame.get("request_id") == good.request_id)
    assert [call.params["n"] for call in ran] == [5]
    assert await desk.trail(what.grant_id) == []


async def test_f4_of_two_grants_on_one_request_only_the_one_that_was_given_is_good(
    desk: Desk, platform: Platform
) -> None:
    """As two handlers could make them, one of which was frozen while it decided."""
    params = {"n": 11}
    claims = {"supervision_level": "autonomous", "tools": {"allowed": ["web_search"]}}
    ada = await platform.enter(platform.signed("twin", **claims))
    sent = await ada.send("tool_request", tool="web_search", params=params)
    told = await ada.find(lambda f: f["type"] == "tool_decision" and f["in_reply_to"] == sent["message_id"])
    other = grant("twin", "web_search", params, request_id=told["request_id"])
    refused = await desk.ask("redeem", "tess", grant=sign(other, desk.key), params=params)
    assert (refused["status"], refused["code"]) == ("denied", "forbidden")
    given = await desk.ask("redeem", "tess", grant=told["grant"], params=params)
    assert given["status"] == "success"


async def test_f4_a_worker_that_dies_leaves_a_result_that_says_so(desk: Desk, platform: Platform) -> None:
    ada = await platform.agent("cleo")
    what = grant("cleo", "frail", {"n": 6})
    answer = await desk.ask("redeem", "mort", grant=sign(what, desk.key), params={"n": 6}, seconds=1)
    assert answer["status"] == "success"
    told = await ada.until("tool_result")
    assert (told["request_id"], told["success"]) == (what.request_id, False)
    assert "did not report in time" in told["error"]
    late = await desk.ask("report", "mort", grant_id=what.grant_id, success=True, result="too late")
    assert (late["status"], late["code"]) == ("failed", "conflict")
    assert await desk.closed(what.grant_id) == ["intent", "result"]


async def test_f4_a_tool_that_fails_or_takes_too_long_is_a_result_too(desk: Desk, platform: Platform) -> None:
    ada = await platform.agent("dino")
    worker = Worker("tess", desk.address)

    @worker.tool("broken")
    def broken(call: Call) -> None:
        raise ValueError("no such row")

    @worker.tool("slow", seconds=0.5)
    async def slow(call: Call) -> None:
        await asyncio.Event().wait()

    async with at_work(worker):
        for tool, words in (("broken", "ValueError: no such row"), ("slow", "time")):
            what = grant("dino", tool, {})
            await desk.call(what, {})
            told = await ada.until("tool_result")
            assert (told["request_id"], told["success"]) == (what.request_id, False)
            assert words in told["error"]


async def test_f4_nobody_reports_for_another_worker_or_what_was_never_begun(desk: Desk) -> None:
    what = grant("ada", "mine", {})
    unknown = await desk.ask("report", "tess", grant_id=what.grant_id, success=True)
    assert unknown["code"] == "not_found"
    await desk.ask("redeem", "tess", grant=sign(what, desk.key), params={})
    other = await desk.ask("report", "eve", grant_id=what.grant_id, success=True)
    assert other["code"] == "forbidden"
    own = await desk.ask("report", "tess", grant_id=what.grant_id, success=True)
    assert own["status"] == "success"


async def test_f4_a_worker_with_its_own_login_runs_its_tools(platform: Platform) -> None:
    ada = await platform.enter(
        platform.signed("asks", supervision_level="low", tools={"allowed": ["double"]})
    )
    worker = Worker.on_this_machine("doubler", str(platform.data))

    @worker.tool("double")
    def double(call: Call) -> int:
        return 2 * int(call.params["n"])

    async with at_work(worker):
        sent = await ada.send("tool_request", tool="double", params={"n": 21})
        told = await ada.find(lambda f: f["type"] == "tool_result" and f["request_id"] == sent["message_id"])
    assert (told["success"], told["result"], told["reported_by"]) == (True, 42, "doubler")


async def test_f4_workers_come_in_and_come_back_where_bearer_tokens_are_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKCHANNEL_BEARER_TOKENS", "false")
    strict = await Platform(tmp_path / "data").start()
    logins, fresh = list[str](), Worker.token

    def noted(worker: Worker) -> str:
        logins.append(fresh(worker))
        return logins[-1]

    monkeypatch.setattr(Worker, "token", noted)
    worker = Worker.on_this_machine("doubler", str(strict.data))

    @worker.tool("double")
    def double(call: Call) -> int:
        return 2 * int(call.params["n"])

    async def logged_in() -> int:
        return len(logins)

    async def doubled(ada: Raw) -> Any:
        sent = await ada.send("tool_request", tool="double", params={"n": 21})
        told = await ada.find(lambda f: f["type"] == "tool_result" and f["request_id"] == sent["message_id"])
        return told["result"]

    try:
        claims = {"supervision_level": "low", "tools": {"allowed": ["double"]}, "nonce": "just-once"}
        ada = await strict.enter(strict.signed("asks", **claims))
        async with at_work(worker):
            assert await doubled(ada) == 42
            assert len(logins) == 1
            assert strict.kill("nats-server") == 1
            await eventually(logged_in, lambda count: count > 1)
            assert await doubled(ada) == 42
            assert len(set(logins)) == len(logins)
    finally:
        await strict.part()
        await strict.stop()


async def test_f4_an_attacker_in_a_workers_place_reaches_its_own_tools_and_nothing_else(
    desk: Desk, platform: Platform
) -> None:
    mal = await Native.enter(
        platform.nats, "mal", platform.signed("mal", entity_type="service", offers=["harmless"])
    )
    deaf = ["bc.main.tool.guarded", "bc.main.tool.*", "bc.>", "native.>", "_INBOX_tess.>"]
    for subject in deaf:
        await mal.client.subscribe(subject, queue="workers")
    mute = ["bc.main.cmd.normal.mal.tool_request", "bc.main.tool.harmless", "bc.main.svc.supervision.answer"]
    mute += ["bc.main.audit.tool.mal", "bc.main.evt.inbox.ada.high.result", "$JS.API.STREAM.NAMES"]
    for subject in mute:
        await mal.client.publish(subject, b"{}")
    async with asyncio.timeout(WAIT):
        complaints = [(await mal.complaints.get()).lower() for _ in (*deaf, *mute)]
    assert all("permissions violation" in one for one in complaints)
    what = grant("ada", "guarded", {"n": 1})
    stolen = {"message_id": str(uuid4()), "grant": sign(what, desk.key), "params": {"n": 1}}
    forged = {"Bc-Caller": "tess", "Bc-Offers": "guarded"}
    refused = await mal.offer("bc.main.svc.grant.redeem", stolen, forged)
    assert (refused["code"], "mal does not offer guarded" in refused["message"]) == ("forbidden", True)
    begun = await desk.ask("redeem", "tess", grant=sign(what, desk.key), params={"n": 1})
    assert begun["status"] == "success", "nothing was used up"
    report = {"message_id": str(uuid4()), "grant_id": what.grant_id, "success": True}
    assert (await mal.offer("bc.main.svc.grant.report", report))["code"] == "forbidden"
    await mal.close()
