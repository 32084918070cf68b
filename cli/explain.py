"""`backchannel explain`: why a message arrived, or did not."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from cli.door import Door, Where, door, where_options
from cli.failure import Failure
from cli.group import Command
from cli.terminal import Terminal, clean

RECIPIENTS = ("agent_id", "state", "connected", "received", "why")
LOOKS = 200
"""Stretches of the log that are looked through, each of 50,000 positions."""


@click.command(cls=Command)
@where_options
@click.argument("message_id")
@click.option("--cursor", help="Where it lies, as `accepted` told it; finds it at once.")
@click.pass_obj
def explain(terminal: Terminal, where: Where, message_id: str, cursor: str | None) -> None:
    """Say why a message arrived, or did not."""
    found = asyncio.run(_explained(where, message_id, cursor))
    if terminal.json:
        terminal.put(found)
        return
    for line in _lines(found):
        terminal.line(clean(line))
    if found["recipients"]:
        terminal.table(RECIPIENTS, found["recipients"], empty="")
    for late in found["not_for"]:
        terminal.line(clean(f"not for {late['agent_id']}: {late['why']}"))


async def _explained(where: Where, message_id: str, cursor: str | None) -> dict[str, Any]:
    until = None
    async with door(where) as at:
        for _ in range(LOOKS):
            wanted = {"message_id": message_id, "cursor": cursor, "until": until}
            found = await at.ask("explain", **wanted)
            until = found.get("next")
            if until is None:
                return await _whole(at, wanted, found)
    raise Failure(
        f"Nothing was found of {message_id} so far back.", code="not_found", hint="give its --cursor"
    )


async def _whole(at: Door, wanted: dict[str, str | None], found: dict[str, Any]) -> dict[str, Any]:
    """With all recipients, however many answers that takes."""
    page = found.get("page")
    while page is not None:
        more = await at.ask("explain", page=page, **wanted)
        found["recipients"] += more["recipients"]
        page = more.get("page")
    return found


def _lines(found: dict[str, Any]) -> list[str]:
    stored = [f"stored      {one['at']}  {one['subject']}  {one['cursor']}" for one in found["stored"]]
    command, result = found.get("command"), found.get("result")
    asked = [f"command     {command['at']}  {command['subject']}"] if command else []
    decided = [f"decided     {result['at']}  {result['status']}  {result['message'] or ''}"] if result else []
    open_ = ["decided     not yet"] if command and not result and not found["dead"] else []
    dead = [
        f"set aside   {one['at']}  {one['service']}: {one['reason']} (dead {one['id']})"
        for one in found["dead"]
    ]
    return [
        f"message     {found['message_id']} of {found['sender']}",
        *asked,
        *decided,
        *open_,
        *stored,
        *dead,
    ]
