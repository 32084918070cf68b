"""`backchannel policy`: why a tool was allowed or denied, or would be."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from typing import Any

import click

from backchannel.delivery.token import draft
from backchannel.errors import NotFound
from cli.door import Where, door, doors, where_options
from cli.group import Group
from cli.option import Name
from cli.terminal import Terminal, clean


@click.group(cls=Group)
def policy() -> None:
    """Explain what supervision decides, and why."""


@policy.command()
@where_options
@click.argument("request_id", required=False)
@click.option("--tool", type=Name(), help="Try a call of this tool instead.")
@click.option("--params", default="{}", help="With --tool: its parameters, as a JSON object.")
@click.option("--agent", type=Name(), default="anybody", help="With --tool: who would ask.")
@click.option("--claims", type=click.File(), help="With --tool: claims of its token, a JSON file.")
@click.option("--chain", type=Name(), help="With --tool: the chain it would belong to.")
@click.pass_obj
def explain(
    terminal: Terminal,
    where: Where,
    request_id: str | None,
    tool: str | None,
    params: str,
    agent: str,
    claims: Any,
    chain: str | None,
) -> None:
    """Replay the decision about REQUEST_ID, or try a call with --tool; nothing is done."""
    if (request_id is None) == (tool is None):
        raise click.UsageError("Say which: REQUEST_ID, or --tool.")
    if request_id is not None:
        found = asyncio.run(_decided(where, request_id))
    else:
        held = _object(claims.read(), "--claims") if claims else {}
        now = int(time.time())
        tried = draft(agent, now=now, lifetime=60, jti=secrets.token_hex(8), fields=held)
        asked = {"tool": tool, "params": _object(params, "--params"), "chain": chain}
        found = asyncio.run(_tried(where, asked | {"claims": tried.model_dump(mode="json")}))
    if terminal.json:
        terminal.put(found)
        return
    _tell(terminal, found)


async def _decided(where: Where, request_id: str) -> dict[str, Any]:
    async with doors(where) as groups:
        for asked in groups:
            for found in (await asked.ask("approvals", request_id=request_id))["approvals"]:
                return {"verdict": found["state"], **found}
    raise NotFound(f"There is no request {request_id[:64]!r}; `backchannel approvals ls` lists them.")


async def _tried(where: Where, asked: dict[str, Any]) -> dict[str, Any]:
    async with door(where) as found:
        return await found.ask("policy", **asked)


def _object(text: str, option: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise click.UsageError(f"{option} takes a JSON object.")
    return found


def _tell(terminal: Terminal, found: dict[str, Any]) -> None:
    risk = found["risk"]
    terminal.line(
        f"{found['verdict']} (level {found['level']}, risk {risk['level']}, rules {found['policy']})"
    )
    for reason in found["reasons"]:
        terminal.line(f"  because {clean(reason)}")
    for reason in risk["reasons"]:
        terminal.line(f"  risk: {clean(reason)}")
    for name in ("decided_by", "reason", "asked", "ladder", "conditions"):
        if found.get(name):
            terminal.line(f"  {name.replace('_', ' ')}: {clean(json.dumps(found[name], ensure_ascii=False))}")
