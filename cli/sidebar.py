"""`backchannel sidebars`: follow conversations that were taken aside, and steer them."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import click

from backchannel.errors import Unavailable
from backchannel.protocol.sidebar_status import SidebarStatus
from cli.content import gist
from cli.door import Door, Where, door, doors, where_options
from cli.group import Group, Noun
from cli.option import Name
from cli.terminal import Row, Terminal, age, clean, shown
from cli.tree import branches

COLUMNS = ("sidebar_id", "status", "priority", "participants", "last_activity", "task")
FACTS = ("parent_id", "status", "priority", "coordinator", "participants", "task", "success_criteria")
PAGE = 200
POLL = 0.5
AWAY = 2.0


VERBS = {
    "history": Noun("cli.sidebar_history:history", "Show every move of a sidebar: when, who, what and why."),
    "spawn": Noun("cli.sidebar_change:spawn", "Open a sidebar for TASK and print its id."),
    "post": Noun(
        "cli.sidebar_change:post_message",
        "Say TEXT in a sidebar, as operator.",
    ),
    "pause": Noun("cli.sidebar_change:pause", "Stop a sidebar for now."),
    "resume": Noun("cli.sidebar_change:resume", "Let a paused or waiting sidebar carry on."),
    "merge": Noun("cli.sidebar_change:merge", "Bring the findings into the parent's context, and end it."),
    "archive": Noun("cli.sidebar_change:archive", "Put a sidebar away; it stays readable and can be forked."),
    "fork": Noun(
        "cli.sidebar_change:fork",
        "Give a sidebar, also an ended one, a second life.",
    ),
}
"""What is loaded when it is called: who only looks at sidebars does not wait for what changes them."""


@click.group(cls=Group, nouns=VERBS)
def sidebars() -> None:
    """Follow sidebars, and steer them."""


@sidebars.command("ls")
@where_options
@click.option("--status", type=click.Choice([status.value for status in SidebarStatus]), help="Only these.")
@click.option("--agent", type=Name(), help="Only those that this agent takes part in.")
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="So many.")
@click.pass_obj
def list_sidebars(
    terminal: Terminal, where: Where, status: str | None, agent: str | None, limit: int
) -> None:
    """List sidebars."""
    found = asyncio.run(_listed(where, limit, status=status, agent=agent))
    if terminal.json:
        terminal.put(found)
        return
    now = datetime.now(UTC)
    rows = [row | {"last_activity": age(row.get("last_activity"), now)} for row in found]
    several = len({row["group"] for row in found}) > 1
    terminal.table(("group", *COLUMNS) if several else COLUMNS, rows, empty="There is no sidebar.")


@sidebars.command()
@where_options
@click.argument("sidebar_id", type=Name())
@click.option("--until", metavar="CURSOR", help="As it was then.")
@click.pass_obj
def show(terminal: Terminal, where: Where, sidebar_id: str, until: str | None) -> None:
    """Show one sidebar as it is, or as it was at a cursor."""
    found = asyncio.run(_shown(where, sidebar_id, until))
    if terminal.json:
        terminal.put(found)
        return
    terminal.line(terminal.paint(clean(str(found.get("sidebar_id"))), "cyan"))
    for name in [*FACTS, *(key for key in found if key not in (*FACTS, "sidebar_id"))]:
        if found.get(name) not in (None, "", [], {}):
            terminal.line(f"  {name.replace('_', ' '):<20}{_told(found[name])}")


@sidebars.command()
@where_options
@click.argument("sidebar_id", type=Name(), required=False)
@click.pass_obj
def tree(terminal: Terminal, where: Where, sidebar_id: str | None) -> None:
    """Draw which sidebar came out of which: all of them, or those under SIDEBAR_ID."""
    root, found = asyncio.run(_family(where, sidebar_id or "main"))
    if terminal.json:
        terminal.put(_nested(root, found))
        return
    for lead, row in branches(root, found):
        terminal.line(_branch(terminal, lead, row))


@sidebars.command()
@where_options
@click.argument("sidebar_id", type=Name())
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="The last ones."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes. With --json one object a line.")
@click.pass_obj
def tail(terminal: Terminal, where: Where, sidebar_id: str, limit: int, follow: bool) -> None:
    """Show what was said in a sidebar, or in `main`."""
    asyncio.run(_tail(terminal, where, sidebar_id, limit, follow))


async def _listed(where: Where, limit: int, **filters: Any) -> list[dict[str, Any]]:
    async with doors(where) as found:
        return [row for each in found async for row in _paged(each, limit, **filters)][:limit]


async def _paged(at: Door, limit: int, **filters: Any) -> AsyncIterator[dict[str, Any]]:
    after = None
    while limit > 0:
        answer = await at.ask("sidebars", limit=min(limit, PAGE), after=after, **filters)
        for row in answer["sidebars"]:
            yield {"group": at.group, **row}
        after = answer.get("next")
        limit -= len(answer["sidebars"])
        if after is None:
            return


async def _shown(where: Where, sidebar_id: str, until: str | None) -> dict[str, Any]:
    async with door(where) as at:
        answer = await at.ask("sidebar", sidebar_id=sidebar_id, until=until)
        found: dict[str, Any] = answer["sidebar"]
        return found


async def _family(where: Where, root_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The sidebar at the root, and every sidebar there is."""
    async with door(where) as at:
        found = [row async for row in _paged(at, 1_000_000)]
        if root_id == "main":
            return {"sidebar_id": "main"}, found
        by_id = {row["sidebar_id"]: row for row in found}
        if root_id not in by_id:
            return (await at.ask("sidebar", sidebar_id=root_id))["sidebar"], found
        return by_id[root_id], found


async def _tail(terminal: Terminal, where: Where, sidebar_id: str, limit: int, follow: bool) -> None:
    async with door(where) as at:
        cursor: str | None = None
        last: deque[dict[str, Any]] = deque(maxlen=limit)
        while True:
            answer = await at.ask("context", context_id=sidebar_id, after=cursor, limit=PAGE)
            last.extend(answer["exchanges"])
            cursor = answer["cursor"]
            if answer.get("next") is None:
                break
        if terminal.json and not follow:
            terminal.put(list(last))
            return
        for exchange in last:
            _say(terminal, exchange)
        while follow:
            cursor = await _say_more(terminal, at, sidebar_id, cursor)


async def _say_more(terminal: Terminal, at: Door, sidebar_id: str, cursor: str | None) -> str | None:
    """What came since; the new cursor. A platform that is away for a moment is waited for."""
    try:
        answer = await at.ask("context", context_id=sidebar_id, after=cursor, limit=PAGE)
    except Unavailable as problem:
        terminal.say(f"note: {problem.message}")
        await asyncio.sleep(AWAY)
        return cursor
    for exchange in answer["exchanges"]:
        _say(terminal, exchange)
    if answer.get("next") is None:
        await asyncio.sleep(POLL)
    return str(answer["cursor"])


def _say(terminal: Terminal, exchange: dict[str, Any]) -> None:
    if terminal.json:
        click.echo(json.dumps(exchange, ensure_ascii=False))
        return
    time = clean(str(exchange.get("timestamp", "")))
    sender = clean(str(exchange.get("sender_agent_id", "")))
    kind = clean(str(exchange.get("type", "")))
    label = "" if kind in ("sidebar_message", "memory_update") else f"[{kind}] "
    terminal.line(f"{time}  {terminal.paint(sender, 'cyan')}  {label}{clean(gist(exchange))}")


def _branch(terminal: Terminal, lead: str, row: Row) -> str:
    if row["sidebar_id"] == "main":
        return f"{lead}main"
    status = str(row.get("status"))
    color = {"active": "green", "failed": "red", "waiting": "yellow", "paused": "yellow"}.get(status, "white")
    people = " ".join(
        f"{name}*" if name == row.get("coordinator") else str(name) for name in row.get("participants") or ()
    )
    name = terminal.paint(clean(str(row["sidebar_id"])), "cyan")
    rest = clean(f"{row.get('priority')}  {people or '-'}  {row.get('task') or ''}")
    return f"{lead}{name}  {terminal.paint(clean(status), color)}  {rest}"


def _told(value: Any) -> str:
    match value:
        case [dict(), *_]:
            return clean(json.dumps(value, ensure_ascii=False))
        case dict():
            return clean(json.dumps(value, ensure_ascii=False))
    return shown(value)


def _nested(root: Row, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The tree as JSON: each sidebar with its `children`. A sidebar that names itself above is left out."""
    nodes: dict[str, dict[str, Any]] = {root["sidebar_id"]: {**root, "children": []}}
    for _, row in branches(root, rows):
        if row["sidebar_id"] != root["sidebar_id"]:
            node = {**row, "children": []}
            nodes[str(row["sidebar_id"])] = node
            nodes.get(str(row["parent_id"]), nodes[root["sidebar_id"]])["children"].append(node)
    return nodes[root["sidebar_id"]]
