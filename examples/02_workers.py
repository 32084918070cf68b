"""Two tool workers, an agent that asks for them, and a human who answers: what supervision lets through.

Start a platform with `backchannel up`, then run this file beside it (or say where it is: --data DIR).
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from backchannel.client import Agent, ApprovalRequest
from backchannel.client.worker import Call, Worker
from backchannel.errors import BackchannelError, Forbidden

PAGES = {"https://example.org/status": "All systems are well."}
CLAIMS = {
    "human_supervisor": "hugo",
    "supervision_level": "medium",
    "tools": {"allowed": ["web_fetch"], "restricted": ["file_write"]},
}


def tools(worker: Worker, sandbox: Path) -> None:
    """A fetcher that answers from a fixture, and a writer that keeps to one folder."""

    @worker.tool("web_fetch")
    def web_fetch(call: Call) -> str:
        return PAGES[str(call.params["url"])]

    @worker.tool("file_write", keeps=["backup_first", "path_prefix", "max_bytes"])
    def file_write(call: Call) -> dict[str, Any]:
        target = (sandbox / str(call.params["path"])).resolve()
        if not target.is_relative_to(sandbox / str(call.conditions.get("path_prefix", "."))):
            raise Forbidden(f"{call.params['path']} lies outside the folder that was allowed.")
        content = str(call.params["content"]).encode()
        if len(content) > int(call.conditions.get("max_bytes", 1 << 20)):
            raise Forbidden(f"{len(content)} bytes are more than was allowed.")
        target.parent.mkdir(parents=True, exist_ok=True)
        backup = target.with_name(target.name + ".before")
        if call.conditions.get("backup_first") and target.exists():
            shutil.copy2(target, backup)
        target.write_bytes(content)
        return {"written": len(content), "backup": backup.name if backup.exists() else None}


async def ask(me: Agent, tool: str, params: dict[str, Any]) -> Any:
    """Ask for a tool; its result, or why there is none."""
    print(f"coder     asks for {tool} {params}")
    outcome = await me.request_tool(tool, params, reasoning="The report is due.")
    if outcome.result is None:
        return outcome.decision.reason if outcome.decision else "nobody answered"
    return outcome.result.result if outcome.success else outcome.result.error


async def answer(hugo: Agent) -> None:
    """Hugo lets files be written below reports/, once there is a backup."""
    async for message in hugo.inbox():
        if isinstance(message, ApprovalRequest):
            conditions = ["backup_first", {"path_prefix": "reports"}]
            print(f"hugo      approves {message.tool} under conditions: {conditions}")
            await hugo.approve(message.request_id, "Reports are fine.", conditions)


async def main(data: str | None, sandbox: Path) -> None:
    worker = Worker.on_this_machine("tools", data=data)
    tools(worker, sandbox)
    async with (
        Agent.connect("hugo", data=data, claims={"entity_type": "human"}) as hugo,
        Agent.connect("coder", data=data, claims=CLAIMS) as coder,
    ):
        at_work = [asyncio.create_task(work) for work in (worker.run(), answer(hugo))]
        page = await ask(coder, "web_fetch", {"url": "https://example.org/status"})
        print(f"coder     has read: {page}")
        report = {"path": "reports/status.md", "content": str(page)}
        print(f"coder     got: {await ask(coder, 'file_write', report)}")
        outside = await ask(coder, "file_write", {"path": "notes.md", "content": "x"})
        print(f"coder     asked for a file elsewhere: {outside}")
        for one in at_work:
            one.cancel()
        await asyncio.gather(*at_work, return_exceptions=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="data folder of the platform")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        reports = Path(folder).resolve() / "reports"
        reports.mkdir()
        (reports / "status.md").write_text("yesterday")
        try:
            asyncio.run(main(chosen.data, reports.parent))
        except BackchannelError as problem:
            sys.exit(f"error: {problem.message}")
        print(f"the folder holds { ({path.name: path.read_text() for path in sorted(reports.iterdir())}) }")
