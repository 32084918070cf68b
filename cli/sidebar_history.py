"""`backchannel sidebars history`: every move of a sidebar, with who and why."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from cli.door import Where, door, where_options
from cli.group import Command
from cli.option import Name
from cli.terminal import Terminal

COLUMNS = ("at", "by", "what", "why")
LONGEST = 200


@click.command(cls=Command)
@where_options
@click.argument("sidebar_id", type=Name())
@click.option("--until", metavar="CURSOR", help="Up to there.")
@click.pass_obj
def history(terminal: Terminal, where: Where, sidebar_id: str, until: str | None) -> None:
    """Show every move of a sidebar: when, who, what and why."""
    moves = asyncio.run(_moves(where, sidebar_id, until))
    if terminal.json:
        terminal.put(moves)
        return
    rows = [move | {"what": _what(move), "why": (move.get("why") or "")[:LONGEST]} for move in moves]
    terminal.table(COLUMNS, rows, empty="Nothing has happened up to there.")


async def _moves(where: Where, sidebar_id: str, until: str | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = None
    async with door(where) as at:
        while True:
            answer = await at.ask("history", sidebar_id=sidebar_id, after=after, until=until)
            found += answer["moves"]
            after = answer.get("next")
            if after is None:
                return found


def _what(move: dict[str, Any]) -> str:
    """The move in a few words: from where to where, who came and went, which other sidebar it is about."""
    before, now = move.get("before"), move.get("after")
    kind = str(move["type"]).removeprefix("sidebar_").replace("_", " ")
    steps = [f"{before} → {now}" if before else str(now)] if before != now else []
    people = [f"+{name}" for name in move.get("joined") or ()] + [
        f"-{name}" for name in move.get("left") or ()
    ]
    about = [f"({move['about']})"] if move.get("about") else []
    return " ".join([f"{kind}:" if steps or people else kind, *steps, *people, *about])
