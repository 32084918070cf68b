"""Who the platform knows: entered by `token create`, taken over by `up`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from backchannel.domain.directory import entry_after_token
from backchannel.errors import Conflict, Unavailable
from backchannel.home import Home, Settings
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.publish import Publisher
from backchannel.protocol.claims import Claims
from backchannel.protocol.message import rfc3339
from cli.reach import reach

BUCKET = "BC_agents"
FROM_TOKEN = ("entity_type", "human_supervisor", "human_partner", "vouched_specialties")
PATIENCE = 2.0
"""Seconds to wait for a platform that is said to run."""


async def register(settings: Settings, claims: Claims) -> None:
    """Make the bearer known: at the platform if it runs, else in the data folder until it does.

    Raises Unavailable when there is neither a platform nor a data folder.
    """
    entry = entry_after_token({}, claims, rfc3339(datetime.now(UTC)))
    entry["group"] = claims.collaboration_group
    try:
        connection = await reach(settings, wait=PATIENCE)
        try:
            await enter(connection, [entry])
        finally:
            await connection.close()
    except Unavailable:
        if not isinstance(settings, Home):
            raise
        settings.add_known(entry)


async def take_over(home: Home, connection: Connection) -> None:
    """Enter everybody who was registered while the platform was down."""
    entries = home.known()
    if entries:
        await enter(connection, entries)
        home.forget_known(len(entries))


async def enter(connection: Connection, entries: Sequence[Mapping[str, Any]]) -> None:
    """Enter agents. Who is known already stays as it is, but for what the new token says of it."""
    publisher = Publisher(connection)
    bucket = Bucket(connection, BUCKET, publisher)
    try:
        for entry in entries:
            content = {name: value for name, value in entry.items() if name != "group"}
            await _enter_one(bucket, f"{entry['group']}.{entry['agent_id']}", content)
    finally:
        await publisher.close()


async def _enter_one(bucket: Bucket, key: str, content: Mapping[str, Any]) -> None:
    """Write unless somebody has; three times, since a bridge may enter the same agent just now."""
    for _ in range(3):
        found = await bucket.get(key)
        try:
            if found is None:
                await bucket.create(key, json.dumps(content).encode())
                return
            known = json.loads(found.payload)
            renewed = known | {name: content.get(name) for name in FROM_TOKEN}
            if renewed != known:
                await bucket.update(key, json.dumps(renewed).encode(), found.revision)
            return
        except Conflict:
            continue
