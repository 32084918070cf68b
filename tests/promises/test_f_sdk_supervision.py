"""F3, F4 by the SDK: asking for tools, answering, reporting; a word of leave can be taken back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backchannel.client import Agent, ApprovalRequest, ToolDecision
from backchannel.client.connecting import Connecting
from backchannel.client.worker import Call, Worker
from backchannel.errors import Conflict, Forbidden, NotFound
from tests.promises.running import WAIT, Platform

pytestmark = pytest.mark.asyncio(loop_scope="module")


def coder(platform: Platform, name: str, human: str, **more: Any) -> Connecting[Agent]:
    claims = {
        "human_supervisor": human,
        "supervision_level": "medium",
        "tools": {"allowed": ["web_fetch"], "restricted": ["file_write"], "blocked": ["shell"]},
    }
    return Agent.connect(name, data=platform.data, patience=WAIT, claims=claims | more)


def human(platform: Platform, name: str) -> Connecting[Agent]:
    return Agent.connect(name, data=platform.data, patience=WAIT, claims={"entity_type": "human"})


async def question(hugo: Agent) -> str:
    """The id of the next request that is put before a human."""
    while not isinstance(asked := await hugo.next(timeout=WAIT), ApprovalRequest):
        pass
    return asked.request_id


async def test_f4_the_sdk_asks_for_a_tool_and_has_the_result_or_the_denial(platform: Platform) -> None:
    worker = Worker.on_this_machine("tess", data=platform.data)

    @worker.tool("file_write", keeps=["path_prefix"])
    def file_write(call: Call) -> dict[str, Any]:
        return {"kept": call.conditions}

    async with human(platform, "hugo") as hugo, coder(platform, "ada", "hugo") as ada:
        running = asyncio.create_task(worker.run())
        try:
            asking = asyncio.create_task(
                ada.request_tool("file_write", {"path": "a"}, reasoning="It is due.")
            )
            request_id = await question(hugo)
            [waiting] = await hugo.approvals(state="pending")
            assert (waiting["request_id"], waiting["agent_reasoning"]) == (request_id, "It is due.")
            await hugo.approve(request_id, "fine", [{"path_prefix": "reports"}])
            done = await asking
            assert done.approved and done.success and done.result is not None
            assert done.result.result == {"kept": {"path_prefix": "reports"}}
            with pytest.raises(Conflict):
                await hugo.deny(request_id, "too late")
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        blocked = await ada.request_tool("shell", {})
        assert blocked.decision is not None and blocked.decision.decision == "denied"
        asking = asyncio.create_task(ada.request_tool("file_write", {"path": "b"}))
        await hugo.deny(await question(hugo), "not there", ["write below reports/"])
        denied = (await asking).decision
        assert denied is not None and (denied.reason, denied.alternatives) == (
            "not there",
            ["write below reports/"],
        )


async def test_f4_the_sdk_reports_a_tool_of_its_own_and_what_comes_late_is_in_the_inbox(
    platform: Platform,
) -> None:
    async with human(platform, "hera") as hera, coder(platform, "bob", "hera") as bob:
        granted = await bob.request_tool("web_fetch", {"url": "https://example.org"}, own=True)
        assert granted.approved and granted.result is None
        await bob.report(granted.request_id, success=True, result="seen")
        with pytest.raises(Conflict):
            await bob.report(granted.request_id, success=True, result="again")
        early = await bob.request_tool("file_write", {"path": "c"}, wait=0)
        assert not early.approved and early.result is None
        await hera.deny(await question(hera), "later", again_after=3600)
        told = []
        while "rescheduled" not in told:
            message = await bob.next(timeout=WAIT)
            assert isinstance(message, ToolDecision)
            told.append(message.decision)


async def test_f3_an_allowance_is_taken_back_by_its_humans_and_the_next_call_is_asked_for(
    platform: Platform,
) -> None:
    async with (
        human(platform, "iris") as iris,
        human(platform, "stranger") as stranger,
        coder(platform, "cleo", "iris", human_partner="juno") as cleo,
        human(platform, "juno") as juno,
    ):

        async def allowed() -> str:
            """Ask, have calls like that allowed for a while, and see that they are; the allowance."""
            asking = asyncio.create_task(cleo.request_tool("file_write", {"path": "/srv/a"}, own=True))
            await iris.approve(await question(iris), "fine for an hour", allow={"seconds": 3600})
            assert (await asking).approved
            assert (await cleo.request_tool("file_write", {"path": "/srv/b"}, own=True)).approved
            [rule] = (await iris.ask("approvals"))["allowances"]
            return str(rule["allowance_id"])

        async def asked_again(reason: str) -> None:
            assert (await iris.ask("approvals"))["allowances"] == []
            asking = asyncio.create_task(cleo.request_tool("file_write", {"path": "/srv/c"}))
            await iris.deny(await question(iris), reason)
            assert not (await asking).approved

        first = await allowed()
        with pytest.raises(NotFound):
            await stranger.revoke_allowance(first, "not mine")
        with pytest.raises(Forbidden):
            await cleo.revoke_allowance(first, "an agent")
        await iris.revoke_allowance(first, "done")
        with pytest.raises(NotFound):
            await iris.revoke_allowance(first, "twice")
        await asked_again("by whoever gave it")
        await juno.revoke_allowance(await allowed(), "too much")
        await asked_again("by another human of the agent")
        last = await allowed()
        code, _, err = await platform.run("approvals", "revoke", last, "--reason", "over")
        assert code == 0, err
        await asked_again("by the operator")
        assert (await platform.run("approvals", "revoke", last, "--reason", "over"))[0] == 3
    shown = await platform.json("audit", "tail", "--entity", "cleo", "--category", "approval")
    deeds = [one for one in shown if one["action"] == "allowance_revoked" and one["phase"] == "intent"]
    assert [one["facts"]["revoked_by"] for one in deeds] == ["iris", "juno", "operator"]
