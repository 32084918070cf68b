"""`backchannel trust`: how far agents are trusted with which tools, on what ground, and who settled it."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from backchannel.domain.inforce import FREEDOM
from backchannel.errors import NotFound
from backchannel.protocol.supervision import ToolResult, TrustUpdate
from cli.command import command
from cli.door import Where, doors, where_options
from cli.group import Command, Group
from cli.option import Name
from cli.terminal import Terminal, clean

COLUMNS = ("agent_id", "tool_class", "level", "uses", "success_rate", "lower_bound", "recommended")
_reason = click.option("--reason", required=True, help="Why; it is kept in the audit trail.")


@click.group(cls=Group)
def trust() -> None:
    """Show how far agents are trusted with tools, and settle it."""


@trust.command("ls")
@where_options
@click.option("--agent", type=Name(), help="Only of this agent.")
@click.option("--recommended", is_flag=True, help="Only where a higher level is recommended.")
@click.pass_obj
def list_trust(terminal: Terminal, where: Where, agent: str | None, recommended: bool) -> None:
    """List what the outcomes of calls say of each agent and class of tools."""
    found = [one for one in asyncio.run(_ask(where, agent)) if one["recommended"] or not recommended]
    if terminal.json:
        terminal.put(found)
        return
    several = len({one["group"] for one in found}) > 1
    columns = ("group", *COLUMNS) if several else COLUMNS
    terminal.table(columns, found, empty="No outcome of a granted call is known yet.")


@trust.command(cls=Command)
@where_options
@click.argument("agent", type=Name())
@click.argument("tool_class", required=False)
@click.pass_obj
def show(terminal: Terminal, where: Where, agent: str, tool_class: str | None) -> None:
    """Show the level of AGENT, what it rests on, and what the next level takes."""
    found = asyncio.run(_ask(where, agent, tool_class))
    if not found:
        raise NotFound(
            f"Nothing is known of calls of {agent}" + f" of the class {tool_class}" * bool(tool_class) + "."
        )
    if terminal.json:
        terminal.put(found)
        return
    for one in found:
        terminal.line(_told(one))


@trust.command("set", cls=Command)
@where_options
@click.argument("agent", type=Name())
@click.argument("level", type=click.Choice(list(FREEDOM)))
@click.option(
    "--class", "tool_class", type=Name(), required=True, help="The class of tools, as in `trust ls`."
)
@_reason
@click.pass_obj
def settle(terminal: Terminal, where: Where, agent: str, level: str, tool_class: str, reason: str) -> None:
    """Settle the LEVEL of AGENT with a class of tools; its token remains the most it can be."""
    told = asyncio.run(
        command(where, TrustUpdate, agent_id=agent, level=level, tool_class=tool_class, reason=reason)
    )
    if terminal.json:
        terminal.put(told)
    else:
        terminal.line(f"{clean(agent)} is at {told['level']} with the class {clean(tool_class)}")


@trust.command(cls=Command)
@where_options
@click.argument("request_id")
@click.option("--succeeded/--failed", "success", required=True, help="How it went.")
@click.option("--severe", is_flag=True, help="It failed, and harm was done: the level falls at once.")
@_reason
@click.pass_obj
def outcome(
    terminal: Terminal, where: Where, request_id: str, success: bool, severe: bool, reason: str
) -> None:
    """Say how an approved request really went; a human's word replaces what was reported."""
    if severe and success:
        raise click.UsageError("What succeeded is no severe failure: give --failed with --severe.")
    fields: dict[str, Any] = {"request_id": request_id, "success": success, "severe": severe}
    fields |= {"result": reason} if success else {"error": reason}
    told = asyncio.run(command(where, ToolResult, **fields))
    if terminal.json:
        terminal.put(told)
    else:
        terminal.line(f"{clean(request_id)}: {'succeeded' if success else 'failed'}")


async def _ask(where: Where, agent: str | None, tool_class: str | None = None) -> list[dict[str, Any]]:
    async with doors(where) as found:
        return [
            row
            for door in found
            for row in await door.every("trust", "trust", agent=agent, tool_class=tool_class)
        ]


def _told(one: dict[str, Any]) -> str:
    lines = [
        f"{clean(one['agent_id'])} with tools of the class {clean(one['tool_class'])}: {one['level']}"
        + ("" if one["settled"] else " (as its token says)"),
        f"  {one['uses']} calls count; {one['success_rate']} went well, at least {one['lower_bound']} will",
    ]
    if (step := one["next"]) is not None:
        lines.append(f"  for {step['level']}: {step['uses']} calls, and at least {step['lower_bound']}")
    if one["recommended"]:
        lines.append(f"  recommended: {one['recommended']}; confirm it with `backchannel trust set`")
    if one["by"]:
        lines.append(f"  settled by {clean(one['by'])} at {one['at']}: {clean(str(one['reason']))}")
    return "\n".join(lines)
