"""`backchannel agents`: who is known, and who is here."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from cli.door import Where, doors, where_options
from cli.group import Group
from cli.terminal import Terminal

COLUMNS = ("agent_id", "entity_type", "status", "connections", "active_sidebars", "specialties")


@click.group(cls=Group)
def agents() -> None:
    """Show who is known, and who is here."""


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


async def _ask(where: Where) -> list[dict[str, Any]]:
    async with doors(where) as found:
        return [
            {"group": door.group, **agent} for door in found for agent in (await door.ask("agents"))["agents"]
        ]
