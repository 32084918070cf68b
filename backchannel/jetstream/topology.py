"""Makes streams and buckets what nats/streams and nats/buckets say, and tells what it changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from backchannel.errors import BackchannelError, Internal
from backchannel.jetstream.answer import NoStream, api
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.folder import configuration

FOLDERS = ("streams", "buckets")
GROUP = "{group}"
PATIENCE = 10.0
"""Seconds for one stream; a cluster places copies while we wait."""


async def provision(
    connection: Connection, groups: Sequence[str], *, replicas: int | None = None, dry_run: bool = False
) -> list[str]:
    """Create what is missing, change what differs; a line for each change. Several may do so at once.

    What is there already keeps its content, and every setting the files do not name. A `dry_run` only says
    what it would do. Without `replicas` there stay as many copies as there are, and a new stream has one.

    Raises:
        Internal: JetStream refuses a change; the sentence names stream and reason.
        Unavailable: it does not answer.
    """
    changes = []
    for wanted in wanted_streams(groups, replicas):
        try:
            change = await _settle(connection, wanted, dry_run)
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


async def _settle(connection: Connection, wanted: Mapping[str, Any], dry_run: bool) -> str | None:
    name = wanted["name"]
    try:
        found = await api(connection, f"STREAM.INFO.{name}", timeout=PATIENCE)
    except NoStream:
        return f"created {name}" if dry_run else await _create(connection, wanted)
    differing = differences(found["config"], wanted)
    if not differing:
        return None
    if not dry_run:
        await api(connection, f"STREAM.UPDATE.{name}", {**found["config"], **wanted}, timeout=PATIENCE)
    return f"changed {name}: {', '.join(differing)}"


async def _create(connection: Connection, wanted: Mapping[str, Any]) -> str | None:
    name = wanted["name"]
    try:
        await api(connection, f"STREAM.CREATE.{name}", wanted, timeout=PATIENCE)
    except BackchannelError:
        # Somebody else may have made it meanwhile; if not, the second look fails with the reason.
        found = await api(connection, f"STREAM.INFO.{name}", timeout=PATIENCE)
        if differences(found["config"], wanted):
            raise
        return None
    return f"created {name}"


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The settings in which they differ, of those that are wanted."""
    return [name for name, value in wanted.items() if value != found.get(name, _absent(value))]


def _absent(value: Any) -> Any:
    """How JetStream leaves out a value of this kind: false, zero and empty are not written."""
    return type(value)()
