"""`backchannel dead`: what could not be handled, and how it is given to its service once more."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from backchannel.errors import BackchannelError, NotFound
from backchannel.jetstream.publish import Publisher
from backchannel.protocol.message import one_form
from backchannel.service.audit.operator import enter
from backchannel.service.redeliver import Dead, dead_of, redeliver
from cli.door import Where, operator, where_options
from cli.failure import Failure
from cli.group import Group
from cli.terminal import Terminal, clean

COLUMNS = ("id", "group", "at", "service", "subject", "message_id", "attempts", "reason")


@click.group(cls=Group)
def dead() -> None:
    """See what could not be handled, and redeliver it."""


@dead.command("ls")
@where_options
@click.pass_obj
def list_dead(terminal: Terminal, where: Where) -> None:
    """List what was set aside, oldest first."""
    rows = [found.shown() for found in asyncio.run(_all(where))]
    if terminal.json:
        terminal.put(rows)
        return
    terminal.table(COLUMNS, rows, empty="Nothing was set aside.")


@dead.command()
@where_options
@click.argument("id_", metavar="ID")
@click.pass_obj
def show(terminal: Terminal, where: Where, id_: str) -> None:
    """Show one message that was set aside, by its id in the list or its message id."""
    found = _named(asyncio.run(_all(where)), id_)[0]
    whole = found.shown() | {"payload": found.kept.get("payload"), "sequence": found.kept.get("sequence")}
    if terminal.json:
        terminal.put(whole)
        return
    for name, value in whole.items():
        terminal.line(f"{name.replace('_', ' '):<12}{clean(str(value))}")


@dead.command("redeliver")
@where_options
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Everything that is on the list now.")
@click.pass_obj
def give_again(terminal: Terminal, where: Where, ids: tuple[str, ...], everything: bool) -> None:
    """Give messages to their services once more. Each is applied once, and leaves the list.

    What fails again is set aside again, under another id.
    """
    if bool(ids) == everything:
        raise click.UsageError("Name what is to be delivered, or give --all.")
    given = asyncio.run(_redeliver(where, ids))
    if terminal.json:
        terminal.put([found.shown() for found in given])
        return
    for found in given:
        terminal.line(f"{found.id}  {clean(str(found.kept.get('subject')))}")
    terminal.say(f"Delivered again: {len(given)}.")


async def _all(where: Where) -> list[Dead]:
    async with operator(where) as connection:
        return [found for group in where.groups() async for found in dead_of(connection, group)]


async def _redeliver(where: Where, ids: tuple[str, ...]) -> list[Dead]:
    async with operator(where) as connection:
        known = [found for group in where.groups() async for found in dead_of(connection, group)]
        wanted = [found for id_ in ids for found in _named(known, id_)] if ids else known
        publisher = Publisher(connection)
        try:
            for found in wanted:
                await _give(connection, publisher, found)
        finally:
            await publisher.close()
        return wanted


async def _give(connection: Any, publisher: Publisher, found: Dead) -> None:
    try:
        facts = {"sequence": found.id, "message_id": found.message_id, "service": found.kept.get("service")}
        await enter(connection, found.group, "platform", "dead", "redelivered", facts)
        await redeliver(connection, publisher, found)
    except NotFound:
        return  # somebody else took it off the list at the same moment
    except BackchannelError as error:
        raise Failure(f"{found.id} was not delivered: {error.message}", code=error.code) from None


def _named(known: list[Dead], id_: str) -> list[Dead]:
    found = [one for one in known if one_form(id_) in (str(one.id), one_form(one.message_id or ""))]
    if not found:
        raise Failure(
            f"Nothing with the id {id_} was set aside.", code="not_found", hint="backchannel dead ls"
        )
    return found
