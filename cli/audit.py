"""`backchannel audit`: read the audit trail, take it along, and have it prove itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

import click

from backchannel.domain.audit import CATEGORIES
from backchannel.errors import NotFound
from backchannel.home.ownership import for_its_owner
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.read import Record, describe, read_one
from backchannel.protocol.subject import AUDIT
from backchannel.service.audit.locate import link_of, locate
from cli.audit_verify import verify
from cli.door import Where, operator, where_options
from cli.group import Group
from cli.option import Duration, Name
from cli.reading import View, before, following, forward, viewed
from cli.terminal import Terminal, clean

COLUMNS = ("position", "at", "category", "entity", "action", "phase", "facts")
LONGEST = 300

category_option = click.option(
    "--category", type=click.Choice(CATEGORIES), default=None, help="Only records of this category."
)
entity_option = click.option("--entity", type=Name(), help="Only records about this one.")
since_option = click.option("--since", type=Duration(), help="From so long ago on, as 10m.")


@click.group(cls=Group)
def audit() -> None:
    """Read the audit trail, and check it."""


audit.add_command(verify)


@audit.command()
@where_options
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="So many rows.")
@category_option
@entity_option
@since_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes. With --json one object a line.")
@click.pass_obj
def tail(
    terminal: Terminal,
    where: Where,
    limit: int,
    category: str | None,
    entity: str | None,
    since: int | None,
    follow: bool,
) -> None:
    """Show the newest records of the trail."""
    subject = _subject(where, category, entity)
    asyncio.run(_tail(terminal, where, View(limit, None, _moment(since), subject), follow))


@audit.command()
@where_options
@click.argument("what")
@click.pass_obj
def show(terminal: Terminal, where: Where, what: str) -> None:
    """Show one record: WHAT is its position, or an id; of a request, all that happened to it."""
    found = asyncio.run(_show(where, what))
    if not found:
        raise NotFound(f"There is no record {what!r} in the audit trail of {_group(where)}.")
    if terminal.json:
        terminal.put(found)
        return
    for record in found:
        for name in ("position", "at", "category", "entity", "action", "phase", "of", "id", "source"):
            terminal.line(f"{name:<10}{clean(str(record[name] if record[name] is not None else '-'))}")
        for name, value in record["facts"].items():
            terminal.line(f"  {clean(name):<18}{clean(json.dumps(value, ensure_ascii=False))}")
        terminal.line(f"{'hash':<10}{record['hash']}")
        terminal.line(f"{'previous':<10}{record['previous']}")


@audit.command()
@where_options
@category_option
@entity_option
@since_option
@click.option("--out", type=click.Path(dir_okay=False), help="Into this file; it must not be there yet.")
@click.pass_obj
def export(
    terminal: Terminal,
    where: Where,
    category: str | None,
    entity: str | None,
    since: int | None,
    out: str | None,
) -> None:
    """Write records out, one a line, each exactly as it was hashed. With --json one array."""
    subject, moment = _subject(where, category, entity), _moment(since)
    with _target(out) as file:
        count = asyncio.run(_export(terminal, where, subject, moment, file))
    terminal.say(f"{count} record{'' if count == 1 else 's'} of the audit trail of {_group(where)}.")


async def _tail(terminal: Terminal, where: Where, view: View, follow: bool) -> None:
    async with operator(where) as connection:
        facts = await describe(connection, AUDIT)
        records = await viewed(connection, facts, view)
        if not follow:
            rows = [_read(record) for record in records]
            if terminal.json:
                terminal.put(rows)
            else:
                shown = [_row(row) for row in rows]
                terminal.table(COLUMNS, shown, empty="Nothing is in the trail that matches.")
            return
        for record in records:
            _tell(terminal, record)
        position = records[-1].sequence if records else facts.last
        async for record in following(connection, AUDIT, position, view.subject):
            _tell(terminal, record)


async def _show(where: Where, what: str) -> list[dict[str, Any]]:
    async with operator(where) as connection:
        if what.isdecimal() and len(what) < 16:
            sequence, link = await locate(connection, _group(where), int(what))
            record = await read_one(connection, AUDIT, sequence) if link is not None else None
            return [_read(record)] if record is not None else []
        rows = [_read(record) async for record in _all(connection, _subject(where, None, None), None)]
        return [row for row in rows if _is_about(row, what)]


def _is_about(row: Mapping[str, Any], what: str) -> bool:
    """A record by an id of its own, by what it belongs to, or by the request it was made for."""
    facts = row["facts"]
    request = facts.get("request_id") if isinstance(facts, dict) else None
    asked = what.removeprefix("request:")
    return what in (row.get("id"), row.get("of"), row.get("hash")) or (
        asked == request or row.get("of") == f"request:{asked}"
    )


async def _export(
    terminal: Terminal, where: Where, subject: str, moment: datetime | None, file: BinaryIO
) -> int:
    count = 0
    async with operator(where) as connection:
        if terminal.json:
            file.write(b"[")
        async for record in _all(connection, subject, moment):
            file.write((b"," if count and terminal.json else b"") + record.payload)
            file.write(b"" if terminal.json else b"\n")
            count += 1
        if terminal.json:
            file.write(b"]\n")
    return count


async def _all(connection: Connection, subject: str, moment: datetime | None) -> AsyncIterator[Record]:
    facts = await describe(connection, AUDIT)
    after = 0 if moment is None else await before(connection, facts, moment)
    async for record in forward(connection, AUDIT, after, limit=None, subject=subject, until=facts.last):
        yield record


def _tell(terminal: Terminal, record: Record) -> None:
    row = _read(record)
    if terminal.json:
        click.echo(json.dumps(row, ensure_ascii=False))
    else:
        terminal.columns([_row(row).get(column) for column in COLUMNS])


def _read(record: Record) -> dict[str, Any]:
    """The fields of a record; of what is none, where it lies and what it says."""
    link = link_of(record)
    if link is not None:
        return {**link.fields, "sequence": record.sequence}
    blank: dict[str, Any] = dict.fromkeys(COLUMNS)
    text = record.payload.decode("utf-8", "replace")[:LONGEST]
    return blank | {"action": "unreadable", "facts": {"payload": text}, "sequence": record.sequence}


def _row(record: dict[str, Any]) -> dict[str, Any]:
    facts = " ".join(f"{name}={_brief(value)}" for name, value in record["facts"].items())
    return record | {"facts": facts[:LONGEST]}


def _brief(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _group(where: Where) -> str:
    return where.groups()[0]


def _subject(where: Where, category: str | None, entity: str | None) -> str:
    if category is None and entity is None:
        return f"bc.{_group(where)}.audit.>"
    return f"bc.{_group(where)}.audit.{category or '*'}.{entity or '*'}"


def _moment(since: int | None) -> datetime | None:
    return None if since is None else datetime.now(UTC) - timedelta(seconds=since)


def _target(out: str | None) -> contextlib.AbstractContextManager[BinaryIO]:
    if out is None:
        return contextlib.nullcontext(sys.stdout.buffer)
    try:
        return open(out, "xb", opener=for_its_owner)
    except OSError as problem:
        raise click.UsageError(f"{out} cannot be made: {problem.strerror}.") from problem
