"""`backchannel config`: the settings that change while the platform runs."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import click

from backchannel.domain.settings import DEFAULTS, Settings
from backchannel.errors import NotFound
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from backchannel.service.settings import BUCKET, LiveSettings
from cli.door import Where, operator, where_options
from cli.group import Group
from cli.terminal import Terminal


@click.group(cls=Group)
def config() -> None:
    """Read and change settings while the platform runs."""


@config.command("get")
@where_options
@click.argument("name", required=False)
@click.pass_obj
def get(terminal: Terminal, where: Where, name: str | None) -> None:
    """Show what is in force: the setting NAME, or all of them."""
    found = asyncio.run(_in_force(where))
    if name is not None and name not in found:
        raise NotFound(f"There is no setting {name[:80]!r}; `backchannel config get` lists them.")
    if terminal.json:
        terminal.put(found if name is None else {name: found[name]})
    elif name is not None:
        terminal.line(json.dumps(found[name], ensure_ascii=False))
    else:
        rows = [
            {"name": one, "value": _short(value), "default": _short(DEFAULTS[one])}
            for one, value in found.items()
        ]
        terminal.table(("name", "value", "default"), rows, empty="")


@config.command("set")
@where_options
@click.argument("name")
@click.argument("value")
@click.pass_obj
def put(terminal: Terminal, where: Where, name: str, value: str) -> None:
    """Set NAME to VALUE (JSON, or a text), at once and for good; `null` puts its default back."""
    said = _value(value)
    changed = asyncio.run(_set(where, name, said))
    if terminal.json:
        terminal.put({name: changed})
    else:
        terminal.say(f"{name} is {json.dumps(changed, ensure_ascii=False)} now.")


async def _in_force(where: Where) -> dict[str, Any]:
    async with operator(where) as connection:
        return (await _current(connection)).flat()


async def _current(connection: Connection) -> Settings:
    live = LiveSettings(connection)
    await live.open()
    try:
        return live.current
    finally:
        await live.close()


async def _set(where: Where, name: str, value: Any) -> Any:
    """Checked before it is written: what makes no sense changes nothing. Raises NotFound or BadMessage."""
    async with operator(where) as connection:
        wanted = (await _current(connection)).changed(name, value)
        await Bucket(connection, BUCKET).put(name, json.dumps(value).encode())
        return wanted.flat()[name]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
