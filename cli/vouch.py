"""`backchannel agents vouch`: answer for what an agent can do, so that it is found by that."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import click

from backchannel.errors import Conflict
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.publish import Publisher
from backchannel.protocol.claims import MOST_VOUCHED
from cli.directory import BUCKET
from cli.door import Where, operator, where_options
from cli.failure import Failure
from cli.group import Command
from cli.on_record import entered
from cli.option import Name
from cli.terminal import Terminal

FIELD = "vouched_by_operator"
TRIES = 5


@click.command("vouch", cls=Command)
@click.argument("agent", type=Name())
@click.argument("specialties", nargs=-1, type=Name())
@where_options
@click.pass_obj
def vouch(terminal: Terminal, where: Where, agent: str, specialties: tuple[str, ...]) -> None:
    """Vouch that AGENT has SPECIALTIES, and no others; without any, take it back.

    They bring it to sidebars that are opened for one of them, and to urgent mentions for others who have it.
    What its token says holds besides.
    """
    if len(specialties) > MOST_VOUCHED:
        raise click.UsageError(f"One can vouch for {MOST_VOUCHED} specialties of an agent.")
    told = asyncio.run(_vouched(where, agent, list(dict.fromkeys(specialties))))
    if not told:
        raise Failure(f"Nobody here is called {agent}.", code="not_found", hint="backchannel agents ls")
    if terminal.json:
        terminal.put(told if len(told) > 1 else told[0])
        return
    terminal.say(f"{agent} is vouched for: {', '.join(specialties) or 'nothing any more'}.")


async def _vouched(where: Where, agent: str, specialties: list[str]) -> list[dict[str, Any]]:
    """What stands in each group that knows the agent."""
    told = []
    async with operator(where) as connection:
        for group in where.groups():
            if await _enter(where, connection, group, agent, specialties):
                told.append({"group": group, "agent_id": agent, FIELD: specialties})
    return told


async def _enter(
    where: Where, connection: Connection, group: str, agent: str, specialties: list[str]
) -> bool:
    """Whether the group knows the agent. What is vouched for is in the trail before it counts."""
    publisher = Publisher(connection)
    bucket, key = Bucket(connection, BUCKET, publisher), f"{group}.{agent}"
    try:
        if await bucket.get(key) is None:
            return False
        facts = {"specialties": specialties}
        if not await entered(where.settings, group, "security", agent, "specialties_vouched", facts):
            raise Failure("No platform runs that could take it.", code="unavailable")
        for _ in range(TRIES):
            if (found := await bucket.get(key)) is None:
                return False
            entry = json.loads(found.payload) | {FIELD: specialties}
            try:
                await bucket.update(key, json.dumps(entry).encode(), found.revision)
            except Conflict:
                continue
            return True
        raise Failure(f"The entry of {agent} changes all the time; try again.", code="conflict")
    finally:
        await publisher.close()
