"""Makes streams and buckets what nats/streams and nats/buckets say, and tells what it changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from backchannel.errors import BackchannelError, Internal, NotFound
from backchannel.jetstream.answer import NoRoom, NoStream, api
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.folder import configuration
from backchannel.jetstream.read import describe
from backchannel.jetstream.size import NO_LIMIT, SIZE, USUAL, Fill, Sizes, halved
from backchannel.logger import Logger

log = Logger(__name__)

FOLDERS = ("streams", "buckets")
GROUP = "{group}"
PATIENCE = 10.0
"""Seconds for one stream; a cluster places copies while we wait."""


async def provision(
    connection: Connection,
    groups: Sequence[str],
    *,
    replicas: int | None = None,
    dry_run: bool = False,
    sizes: Sizes = USUAL,
) -> list[str]:
    """Create what is missing, change what differs; a line for each change. Several may do so at once.

    What is there already keeps its content, and every setting the files do not name. A `dry_run` only says
    what it would do. Without `replicas` there stay as many copies as there are, and a new stream has one.
    Of sizes see `backchannel.jetstream.size`.

    Raises:
        Internal: JetStream refuses a change; the sentence names stream and reason.
        Unavailable: it does not answer.
    """
    changes = []
    for wanted in wanted_streams(groups, replicas):
        try:
            change = await _settle(connection, wanted, sizes, dry_run)
        except Internal as problem:
            raise Internal(
                f"The stream {wanted['name']} cannot be made what its file says: {problem.message}"
            ) from problem
        if change is not None:
            changes.append(change)
    return changes


def wanted_streams(groups: Sequence[str], replicas: int | None = None) -> Iterator[dict[str, Any]]:
    """The configuration of every stream, as JetStream takes it; a bucket is a stream too."""
    for path in files():
        text = path.read_text("utf-8")
        for group in groups if GROUP in text else ("",):
            wanted: dict[str, Any] = json.loads(text.replace(GROUP, group))
            yield wanted if replicas is None else {**wanted, "num_replicas": replicas}


def files() -> list[Path]:
    """Every file that describes a stream or bucket."""
    return [path for folder in FOLDERS for path in sorted((configuration() / folder).glob("*.json"))]


async def _settle(
    connection: Connection, wanted: Mapping[str, Any], sizes: Sizes, dry_run: bool
) -> str | None:
    name = wanted["name"]
    try:
        found = await api(connection, f"STREAM.INFO.{name}", timeout=PATIENCE)
    except NoStream:
        wanted = {**wanted, SIZE: sizes.of(name, wanted.get(SIZE, NO_LIMIT))}
        return f"created {name}" if dry_run else await _create(connection, wanted)
    wanted = {**wanted, SIZE: sizes.anew(found, wanted.get(SIZE, NO_LIMIT))}
    differing = [one for one, value in wanted.items() if value != found["config"].get(one, _absent(value))]
    if not differing:
        return None
    if not dry_run:
        await _with_room(connection, f"STREAM.UPDATE.{name}", {**found["config"], **wanted})
    return f"changed {name}: {', '.join(differing)}"


async def _with_room(connection: Connection, endpoint: str, wanted: Mapping[str, Any]) -> None:
    """Ask for it; where the server has less room than the stream may have bytes, for half of that."""
    while True:
        try:
            await api(connection, endpoint, wanted, timeout=PATIENCE)
            return
        except NoRoom:
            if wanted[SIZE] == NO_LIMIT:
                raise
            smaller = halved(wanted[SIZE])
            log.warning("stream_smaller_than_wanted", stream=wanted["name"], bytes=smaller)
            wanted = {**wanted, SIZE: smaller}


async def _create(connection: Connection, wanted: Mapping[str, Any]) -> str | None:
    name = wanted["name"]
    try:
        await _with_room(connection, f"STREAM.CREATE.{name}", wanted)
    except BackchannelError:
        # Somebody else may have made it meanwhile; if not, the second look fails with the reason.
        found = await api(connection, f"STREAM.INFO.{name}", timeout=PATIENCE)
        if differences(found["config"], wanted):
            raise
        return None
    return f"created {name}"


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The settings in which they differ, of those that are wanted. How large a stream may become is not
    among them: that is for whoever runs the platform to say, and for the disk."""
    return [
        name for name, value in wanted.items() if name != SIZE and value != found.get(name, _absent(value))
    ]


async def fills(connection: Connection, groups: Sequence[str]) -> list[Fill]:
    """How full every stream and bucket is that is there. Raises Unavailable."""
    found = []
    for name in _names(tuple(groups)):
        try:
            facts = await describe(connection, name)
        except NotFound:
            continue
        found.append(Fill(name, facts.bytes, int(facts.config.get(SIZE, NO_LIMIT))))
    return found


@lru_cache
def _names(groups: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(wanted["name"] for wanted in wanted_streams(groups))


def _absent(value: Any) -> Any:
    """How JetStream leaves out a value of this kind: false, zero and empty are not written."""
    return type(value)()
