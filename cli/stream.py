"""`backchannel streams`: look into the event logs."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from backchannel.jetstream.answer import api
from backchannel.jetstream.read import Record, StreamFacts, facts_of
from backchannel.jetstream.size import Sizes
from cli.door import Where, operator, where_options
from cli.furnish import furnish
from cli.group import Group
from cli.option import Duration, SubjectFilter
from cli.reading import View, following, viewed
from cli.stream_history import export, replay, verify
from cli.stream_known import known
from cli.stream_row import COLUMNS, row
from cli.terminal import Terminal, clean, size

OURS = ("BC_", "KV_BC_")


@click.group(cls=Group)
def streams() -> None:
    """Look into the event logs."""


for _command in (replay, export, verify):
    streams.add_command(_command)


@streams.command("ls")
@where_options
@click.option("--all", "everything", is_flag=True, help="Also the key-value buckets.")
@click.pass_obj
def list_streams(terminal: Terminal, where: Where, everything: bool) -> None:
    """List the streams of the platform."""
    found = [
        _shown(facts) for facts in asyncio.run(_all(where)) if everything or facts.name.startswith("BC_")
    ]
    if terminal.json:
        terminal.put(found)
        return
    rows = [row | {"bytes": size(row["bytes"])} for row in found]
    terminal.table(
        ("name", "messages", "bytes", "first", "last", "consumers"), rows, empty="There are no streams."
    )


@streams.command()
@where_options
@click.argument("name")
@click.pass_obj
def info(terminal: Terminal, where: Where, name: str) -> None:
    """Show what the stream NAME holds and how it is set up."""
    facts = asyncio.run(_one(where, name))
    if terminal.json:
        terminal.put(_shown(facts) | {"config": dict(facts.config)})
        return
    for key, value in (_shown(facts) | {"bytes": size(facts.bytes)}).items():
        terminal.line(f"{key.replace('_', ' '):<12}{value}")
    terminal.line("config")
    for key, value in sorted(facts.config.items()):
        terminal.line(f"  {key:<24}{clean(json.dumps(value, ensure_ascii=False))}")


@streams.command()
@where_options
@click.argument("name")
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="So many rows.")
@click.option("--after", type=click.IntRange(0), help="From behind this sequence on.")
@click.option("--since", type=Duration(), help="From so long ago on, as 10m.")
@click.option("--subject", type=SubjectFilter(), default=">", help="Only what this subject filter matches.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes. With --json one object a line.")
@click.pass_obj
def view(
    terminal: Terminal,
    where: Where,
    name: str,
    limit: int,
    after: int | None,
    since: int | None,
    subject: str,
    follow: bool,
) -> None:
    """Show the newest messages of the stream NAME, or those from a position or time on."""
    if after is not None and since is not None:
        raise click.UsageError("--after and --since exclude each other.")
    moment = None if since is None else datetime.now(UTC) - timedelta(seconds=since)
    asyncio.run(_view(terminal, where, name, View(limit, after, moment, subject), follow))


@streams.command()
@where_options
@click.option(
    "--replicas", type=click.IntRange(1, 5), help="Copies in a cluster (default: as many as there are, or 1)."
)
@click.pass_obj
def apply(terminal: Terminal, where: Where, replicas: int | None) -> None:
    """Make streams and buckets as they are shipped; what is right already stays as it is."""
    changes = asyncio.run(_apply(where, replicas))
    if terminal.json:
        terminal.put(changes)
        return
    for change in changes:
        terminal.line(clean(change))
    if not changes:
        terminal.say("Everything was as shipped; nothing was changed.")


async def _apply(where: Where, replicas: int | None) -> list[str]:
    async with operator(where, "steward") as connection:
        return await furnish(connection, where.groups(), replicas, Sizes.from_environment(os.environ))


async def _all(where: Where) -> list[StreamFacts]:
    async with operator(where) as connection:
        found: list[StreamFacts] = []
        while True:
            answer = await api(connection, "STREAM.LIST", {"offset": len(found)})
            found += [facts_of(stream) for stream in answer.get("streams") or ()]
            if len(found) >= int(answer.get("total", 0)) or not answer.get("streams"):
                return sorted((x for x in found if x.name.startswith(OURS)), key=lambda facts: facts.name)


async def _one(where: Where, name: str) -> StreamFacts:
    async with operator(where) as connection:
        return await known(connection, name)


async def _view(terminal: Terminal, where: Where, name: str, view: View, follow: bool) -> None:
    async with operator(where) as connection:
        facts = await known(connection, name)
        records = await viewed(connection, facts, view)
        if not follow:
            _show(terminal, records, len(records) == view.limit and records[-1].sequence < facts.last)
            return
        for record in records:
            _show_live(terminal, record)
        position = records[-1].sequence if records else max(view.after or 0, facts.last)
        async for record in following(connection, name, position, view.subject):
            _show_live(terminal, record)


def _show(terminal: Terminal, records: list[Record], more: bool) -> None:
    rows = [row(record) for record in records]
    if terminal.json:
        terminal.put(rows)
        return
    terminal.table(COLUMNS, rows, empty="There is nothing to see.")
    if more:
        terminal.say(f"There may be more: --after {records[-1].sequence}")


def _show_live(terminal: Terminal, record: Record) -> None:
    shown = row(record)
    if terminal.json:
        click.echo(json.dumps(shown, ensure_ascii=False))
    else:
        terminal.columns([shown[column] for column in COLUMNS])


def _shown(facts: StreamFacts) -> dict[str, Any]:
    names = ("name", "messages", "bytes", "first", "last", "consumers", "created", "epoch")
    return {name: getattr(facts, name) for name in names}
