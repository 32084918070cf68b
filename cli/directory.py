"""Who the platform knows: entered by `token create`, taken over by `up`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from backchannel.errors import Conflict, Unavailable
from backchannel.home import Home, NotRunning, Settings
from backchannel.jetstream.address import Address
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from backchannel.protocol.claims import Claims

BUCKET = "BC_agents"
PATIENCE = 2.0
"""Seconds to wait for a platform that is said to run."""


async def register(settings: Settings, claims: Claims) -> None:
    """Make the bearer known: at the platform if it runs, else in the data folder until it does.

    Raises Unavailable when there is neither a platform nor a data folder.
    """
    entry = _entry(claims)
    try:
        async with await _reach(settings) as connection:
            await enter(connection, entry)
    except Unavailable:
        if not isinstance(settings, Home):
            raise
        settings.add_known(entry)


async def enter(connection: Connection, entry: Mapping[str, Any]) -> None:
    """Enter one agent. Who is known already stays as it is, but for the kind of entity it is now."""
    bucket = Bucket(connection, BUCKET)
    key = f"{entry['group']}.{entry['agent_id']}"
    content = {name: value for name, value in entry.items() if name != "group"}
    try:
        await bucket.create(key, json.dumps(content).encode())
    except Conflict:
        await _refresh(bucket, key, content)


async def take_over(home: Home, connection: Connection) -> int:
    """Enter everybody who was registered while the platform was down; how many."""
    entries = home.known()
    for entry in entries:
        await enter(connection, entry)
    if entries:
        home.forget_known(len(entries))
    return len(entries)


async def _refresh(bucket: Bucket, key: str, content: dict[str, Any]) -> None:
    found = await bucket.get(key)
    if found is None:
        return
    known = json.loads(found.payload)
    if known.get("entity_type") != content["entity_type"]:
        renewed = known | {"entity_type": content["entity_type"]}
        await bucket.update(key, json.dumps(renewed).encode(), found.revision)


async def _reach(settings: Settings) -> Connection:
    if isinstance(settings, Home) and not settings.serving():
        raise NotRunning("No platform runs here.")
    url = settings.platform().nats if isinstance(settings, Home) else settings.runtime().nats
    user, password = settings.nats_login("operator")
    return await Connection.open(Address(url, user, password), name="cli", wait=PATIENCE)


def _entry(claims: Claims) -> dict[str, Any]:
    return {
        "group": claims.collaboration_group,
        "agent_id": claims.sub,
        "entity_type": claims.entity_type,
        "specialties": [],
        "availability": "available",
        "preferred_collaborators": [],
        "first_seen": None,
        "registered_at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
