"""F3, F4 by the SDK: asking for tools, answering, reporting; a word of leave can be taken back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backchannel.client import Agent, ApprovalRequest, ToolDecision
from backchannel.client.connecting import Connecting
from backchannel.client.worker import Call, Worker
from backchannel.errors import Conflict
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
