"""Checks of a running platform: its server, its streams, its handlers, its bridge, its clock."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from backchannel.errors import BackchannelError
from backchannel.home import Home, Platform
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.topology import provision
from cli.door import Where, door_over, reach
from cli.finding import Finding, bad, good, skipped
from cli.health import ask_health

CLOCKS_APART = 5.0
PATIENCE = 5.0


async def check_running(where: Where, home: Home) -> list[Finding]:
    """One finding if none runs, else one for each part."""
    try:
        platform = home.platform()
    except BackchannelError as problem:
        if not home.serving():
            return [skipped("platform", f"none runs in {home.path}; start it with: backchannel up --data {home.path}")]
        return [bad("platform", problem.message, "wait until it has started, or look into its logs")]
    if not home.serving():
        return [bad("platform", "it ended without saying goodbye", f"backchannel up --data {home.path}")]
    running = good("platform", f"process {platform.pid}, since {platform.started_at}, groups {', '.join(platform.groups)}")
    return [running, _bridge(platform), *await _behind(home, platform)]


def _bridge(platform: Platform) -> Finding:
    health = ask_health(platform.http, PATIENCE)
    told = f"{platform.http} is {health.word}"
    if health.healthy:
        return good("bridge", told)
    return bad("bridge", f"{told} {health.reason}".rstrip(), "see logs/bridge.log in the data folder")


async def _behind(home: Home, platform: Platform) -> list[Finding]:
    """What is asked over NATS."""
    try:
        connection = await reach(home, wait=PATIENCE)
    except BackchannelError as problem:
        return [bad("nats", problem.message, "see logs/nats-server.log in the data folder")]
    try:
        found = [good("nats", f"{platform.nats} answers")]
        found.append(await _topology(connection, platform))
        for group in platform.groups:
            found += await _handlers(connection, group)
        return found
    finally:
        await connection.close()
