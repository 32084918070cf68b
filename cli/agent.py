"""`backchannel agents`: who is known, who is here, and with which rights."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from backchannel.service.rights import Rights
from cli.door import Where, doors, operator, where_options
from cli.failure import Failure
from cli.group import Group
from cli.option import Name
from cli.revoke import kick
from cli.terminal import Terminal
from cli.vouch import vouch

COLUMNS = ("agent_id", "entity_type", "status", "condition", "connections", "active_sidebars", "specialties")


@click.group(cls=Group)
def agents() -> None:
    """Show who is known and who is here, and send somebody away."""


agents.add_command(kick)
agents.add_command(vouch)


@agents.command("ls")
@where_options
@click.option("--online", is_flag=True, help="Only those who are connected now.")
@click.pass_obj
def list_agents(terminal: Terminal, where: Where, online: bool) -> None:
    """List everybody the platform knows."""
    found = [agent for agent in asyncio.run(_ask(where)) if agent.get("online") or not online]
    if terminal.json:
        terminal.put(found)
        return
    several = len({agent["group"] for agent in found}) > 1
    columns = ("group", *COLUMNS) if several else COLUMNS
    terminal.table(
        columns, found, empty="Nobody is known yet. `backchannel token create NAME` introduces somebody."
    )


@agents.command("show")
@click.argument("agent", type=Name())
@where_options
@click.pass_obj
def show_agent(terminal: Terminal, where: Where, agent: str) -> None:
    """Show what AGENT said of itself, whether it is here, and what narrows its rights now."""
    found = asyncio.run(_ask(where, agent))
    if not found:
        raise Failure(f"Nobody here is called {agent}.", code="not_found", hint="backchannel agents ls")
    if where.url is None:
        found = asyncio.run(_with_rights(where, agent, found))
    if terminal.json:
        terminal.put(found if len(found) > 1 else found[0])
        return
    for one in found:
        rows = [{"what": name, "said": value} for name, value in one.items()]
        terminal.table(("what", "said"), rows, empty="Nothing is known of it.")


async def _with_rights(where: Where, agent: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With the rights in force beside each; None where nothing narrows the tokens."""
    async with operator(where) as connection:
        told = []
        for one in found:
            inforce = await Rights(connection).get(one["group"], agent)
            rights = None if inforce is None else inforce.model_dump(mode="json", exclude_none=True)
            told.append({**one, "rights": rights})
        return told


async def _ask(where: Where, agent_id: str | None = None) -> list[dict[str, Any]]:
    async with doors(where) as found:
        return [row for door in found for row in await door.every("agents", "agents", agent_id=agent_id)]
