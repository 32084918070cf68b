"""A stream by its name, as somebody typed it."""

from __future__ import annotations

import click

from backchannel.errors import NotFound
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.read import StreamFacts, describe
from cli.terminal import clean


async def known(connection: Connection, name: str) -> StreamFacts:
    if not name or not name.isascii() or set(name) & set(" .*>/\\") or not name.isprintable():
        raise click.UsageError(f"{clean(name)!r} cannot be the name of a stream.")
    try:
        return await describe(connection, name)
    except NotFound:
        raise NotFound(f"There is no stream {name}; `backchannel streams ls --all` lists them.") from None
