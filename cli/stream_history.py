"""`backchannel streams replay|export|verify`: a log once more, taken along, and checked."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TextIO

import click

from backchannel.home.ownership import for_its_owner
from backchannel.jetstream.answer import api
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.read import Record, StreamFacts
from backchannel.protocol.subject import events_stream
from cli.door import Where, operator, where_options
from cli.failure import CHECK_FAILED
from cli.group import Command
from cli.option import Duration, SubjectFilter
from cli.reading import before, forward
from cli.stream_known import known
from cli.stream_receipt import Receipt
from cli.stream_row import COLUMNS, message_of, row
from cli.terminal import Terminal, clean

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """Which part of a log: from behind a position or from a moment on, and what a subject filter matches."""

    after: int | None
    since: int | None
    subject: str

    @property
    def whole(self) -> bool:
        return self.subject == ">"


def stretch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What `replay` and `export` may leave out."""
    subject = click.option(
        "--subject", type=SubjectFilter(), default=">", help="Only what this subject filter matches."
    )
    since = click.option("--since", type=Duration(), help="From so long ago on, as 10m.")
    after = click.option("--after", type=click.IntRange(0), help="From behind this sequence on.")
    return after(since(subject(command)))


def stretch(after: int | None, since: int | None, subject: str) -> Stretch:
    if after is not None and since is not None:
        raise click.UsageError("--after and --since exclude each other.")
    return Stretch(after, since, subject)


@click.command(cls=Command)
@where_options
@click.argument("name")
@stretch_options
@click.option("--verify", is_flag=True, help="Print a receipt instead: first, last, count, gaps, digest.")
@click.pass_obj
def replay(
    terminal: Terminal,
    where: Where,
    name: str,
    after: int | None,
    since: int | None,
    subject: str,
    verify: bool,
) -> int | None:
    """Show all messages of the stream NAME once more, in order, up to what there is now.

    With --verify nothing is shown but a receipt; exit code 7 when something is missing, or there twice.
    """
    part = stretch(after, since, subject)
    if verify:
        return _told(terminal, [asyncio.run(_receipt(where, name, part))])
    asyncio.run(_replay(terminal, where, name, part))
    return None


@click.command(cls=Command)
@where_options
@click.argument("name")
@stretch_options
@click.option("--out", type=click.Path(dir_okay=False), help="Into this file; it must not be there yet.")
@click.pass_obj
def export(
    terminal: Terminal,
    where: Where,
    name: str,
    after: int | None,
    since: int | None,
    subject: str,
    out: str | None,
) -> None:
    """Write the messages of the stream NAME out, one a line, with all that is stored of each.

    With --json it is one array. What is no JSON object comes as `payload` in base64.
    """
    part = stretch(after, since, subject)
    with _target(out) as file:
        count = asyncio.run(_export(terminal, where, name, part, file))
    terminal.say(f"{count} message{'' if count == 1 else 's'} of {name}.")


@click.command(cls=Command)
@where_options
@click.argument("names", nargs=-1, metavar="[NAME]…")
@click.pass_obj
def verify(terminal: Terminal, where: Where, names: tuple[str, ...]) -> int | None:
    """Read streams from end to end and print a receipt of each; without NAME, of the groups' event logs.

    Exit code 7 when something is missing, or there twice. What was taken out by intention, as timers are,
    is no gap.
    """
    return _told(terminal, asyncio.run(_verify(where, names)))


async def _verify(where: Where, names: tuple[str, ...]) -> list[dict[str, Any]]:
    wanted = names or tuple(events_stream(group) for group in where.groups())
    return [await _receipt(where, name, Stretch(None, None, ">")) for name in wanted]


async def _receipt(where: Where, name: str, part: Stretch) -> dict[str, Any]:
    async with operator(where) as connection:
        facts = await known(connection, name)
        receipt = Receipt(int(facts.config.get("duplicate_window") or 0) / NANOSECONDS, part.whole)
        async for record in _records(connection, facts, part):
            receipt.take(record)
        removed = await _removed(connection, name)
        return {"stream": name, "epoch": facts.epoch, **receipt.shown(removed)}


async def _removed(connection: Connection, name: str) -> Collection[int]:
    """Positions within the log that are empty because somebody took out what lay there."""
    answer = await api(connection, f"STREAM.INFO.{name}", {"deleted_details": True})
    return frozenset(map(int, answer["state"].get("deleted") or ()))


async def _replay(terminal: Terminal, where: Where, name: str, part: Stretch) -> None:
    async with operator(where) as connection:
        found = _records(connection, await known(connection, name), part)
        if terminal.json:
            await _array(sys.stdout, (json.dumps(row(record), ensure_ascii=False) async for record in found))
            return
        async for record in found:
            shown = row(record)
            terminal.columns([shown[column] for column in COLUMNS])


async def _export(terminal: Terminal, where: Where, name: str, part: Stretch, file: TextIO) -> int:
    async with operator(where) as connection:
        lines = (_line(record) async for record in _records(connection, await known(connection, name), part))
        if terminal.json:
            return await _array(file, lines)
        count = 0
        async for line in lines:
            file.write(line + "\n")
            count += 1
        return count


async def _records(connection: Connection, facts: StreamFacts, part: Stretch) -> AsyncIterator[Record]:
    after = part.after or 0
    if part.since is not None:
        after = await before(connection, facts, datetime.now(UTC) - timedelta(seconds=part.since))
    async for record in forward(
        connection, facts.name, after, limit=None, subject=part.subject, until=facts.last
    ):
        yield record


async def _array(file: TextIO, parts: AsyncIterator[str]) -> int:
    """One JSON array, written as its parts come; how many there were."""
    count = 0
    file.write("[")
    async for part in parts:
        file.write(("," if count else "") + part)
        count += 1
    file.write("]\n")
    return count


def _line(record: Record) -> str:
    message = message_of(record)
    said = {"payload": base64.b64encode(record.payload).decode()} if message is None else {"message": message}
    fields = {"sequence": record.sequence, "time": record.time, "subject": record.subject}
    return json.dumps({**fields, "headers": record.headers or {}, **said}, ensure_ascii=False)


def _told(terminal: Terminal, receipts: list[dict[str, Any]]) -> int | None:
    sound = not any(receipt["missing"] or receipt["repeated"] for receipt in receipts)
    if terminal.json:
        terminal.put(receipts[0] if len(receipts) == 1 else receipts)
    else:
        for receipt in receipts:
            _show(terminal, receipt)
    return None if sound else CHECK_FAILED


def _show(terminal: Terminal, receipt: dict[str, Any]) -> None:
    for key, value in receipt.items():
        text = json.dumps(value) if isinstance(value, list) else "-" if value is None else str(value)
        terminal.line(f"{key:<12}{clean(text)}")


def _target(out: str | None) -> contextlib.AbstractContextManager[TextIO]:
    if out is None:
        return contextlib.nullcontext(sys.stdout)
    try:
        return open(out, "x", encoding="utf-8", opener=for_its_owner)
    except OSError as problem:
        raise click.UsageError(f"{out} cannot be made: {problem.strerror}.") from problem
