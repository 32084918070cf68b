"""`backchannel quarantine`: what agents said that went round in circles, and what becomes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from backchannel.service import quarantine as store
from backchannel.service.audit.operator import enter
from cli.door import Where, where_options
from cli.group import Group
from cli.reach import reach
from cli.terminal import Terminal, clean

COLUMNS = ("id", "at", "sender", "type", "between", "hops", "reason")
_message_id = click.argument("message_id")


@click.group(cls=Group)
def quarantine() -> None:
    """Look at what was parked as a loop, and let it go."""


@quarantine.command("ls")
@where_options
@click.pass_obj
def list_parked(terminal: Terminal, where: Where) -> None:
    """List what is parked, oldest first."""
    found = asyncio.run(_held(where))
    if terminal.json:
        terminal.put(found)
        return
    rows = [{**one, "between": ", ".join(one["between"])} for one in found]
    terminal.table(COLUMNS, rows, empty="Nothing is in the quarantine.")


@quarantine.command("release")
@where_options
@_message_id
@click.pass_obj
def release(terminal: Terminal, where: Where, message_id: str) -> None:
    """Store MESSAGE_ID after all, as the first of a new chain."""
    _tell(terminal, message_id, "released", asyncio.run(_decide(where, message_id, "released")))


@quarantine.command("drop")
@where_options
@_message_id
@click.pass_obj
def drop(terminal: Terminal, where: Where, message_id: str) -> None:
    """Take MESSAGE_ID out for good; nobody will hear it."""
    _tell(terminal, message_id, "dropped", asyncio.run(_decide(where, message_id, "dropped")))


async def _held(where: Where) -> list[dict[str, Any]]:
    async with await reach(where.settings, wait=where.timeout) as connection:
        return [
            {"group": found.group, **{name: found.content[name] for name in COLUMNS}}
            async for found in store.held(connection, where.groups())
        ]


async def _decide(where: Where, message_id: str, action: str) -> dict[str, Any]:
    async with await reach(where.settings, wait=where.timeout) as connection:
        found = await store.one(connection, where.groups(), message_id)
        facts = {"message_id": message_id, "sender": found.content["sender"]}
        await enter(connection, found.group, "platform", "quarantine", action, facts)
        if action == "released":
            await store.release(connection, found)
        else:
            await store.drop(connection, found)
        return {"message_id": message_id, "group": found.group, "sender": found.content["sender"]}


def _tell(terminal: Terminal, message_id: str, action: str, told: dict[str, Any]) -> None:
    if terminal.json:
        terminal.put({**told, "action": action})
        return
    terminal.say(f"{action} {clean(message_id)} of {told['sender']}")
