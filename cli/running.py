"""Checks of a running platform: its server, its streams, its handlers, its bridge, its clock."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from backchannel.errors import BackchannelError
from backchannel.home import Home, Platform
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.size import VARIABLE
from backchannel.jetstream.topology import fills
from backchannel.service.audit.standing import ask, faults_of
from backchannel.tls import trusting
from cli.door import Where, over_nats
from cli.finding import Finding, bad, good, skipped
from cli.furnish import faults
from cli.health import ask_health
from cli.machine import serves
from cli.reach import reach

CLOCKS_APART = 5.0
PATIENCE = 5.0


async def check_running(where: Where, home: Home) -> list[Finding]:
    """One finding if none runs, else one for each part."""
    try:
        platform = home.platform()
    except BackchannelError as problem:
        if not serves(home):
            return [
                skipped(
                    "platform", f"none runs in {home.path}; start it with: backchannel up --data {home.path}"
                )
            ]
        return [bad("platform", problem.message, "wait until it has started, or look into its logs")]
    if not serves(home):
        return [bad("platform", "it ended without saying goodbye", f"backchannel up --data {home.path}")]
    running = good(
        "platform",
        f"process {platform.pid}, since {platform.started_at}, groups {', '.join(platform.groups)}",
    )
    return [running, _bridge(platform), *await _behind(home, platform)]


def _bridge(platform: Platform) -> Finding:
    health = ask_health(platform.http, PATIENCE, trust=trusting(platform.tls_cert))
    told = f"{platform.http} is {health.word}"
    if health.healthy:
        return good("bridge", told)
    return bad("bridge", f"{told}: {health.faults}", "see logs/bridge.log in the data folder")


async def _behind(home: Home, platform: Platform) -> list[Finding]:
    """What is asked over NATS."""
    try:
        connection = await reach(home, wait=PATIENCE)
    except BackchannelError as problem:
        return [bad("nats", problem.message, "see logs/nats-server.log in the data folder")]
    try:
        found = [good("nats", f"{platform.nats} answers")]
        found.append(await _topology(connection, platform))
        found.append(await _room(connection, platform))
        for group in platform.groups:
            found += await _handlers(connection, group)
            found.append(await _audit(connection, group))
        return found
    finally:
        await connection.close()


async def _topology(connection: Connection, platform: Platform) -> Finding:
    """Whether streams and buckets are as shipped; a look only, nothing is changed."""
    found = await faults(connection, platform.groups)
    if not found:
        return good("streams", "all streams and buckets are as shipped")
    return bad("streams", "; ".join(found), "backchannel streams apply")


async def _room(connection: Connection, platform: Platform) -> Finding:
    """Whether every stream has a size, and is far from it."""
    hint = f"make room on the disk, or set {VARIABLE} (BC_EVENTS=20GiB) and start again"
    found = await fills(connection, platform.groups)
    if warnings := [fill.warning for fill in found if fill.warning is not None]:
        return bad("room", "; ".join(warnings), hint)
    if endless := [fill.stream for fill in found if fill.most <= 0]:
        return bad("room", f"{', '.join(endless)} may grow without end", hint)
    fullest = max(found, key=lambda fill: fill.share)
    return good("room", f"the fullest stream, {fullest.stream}, is {fullest.share:.0%} full")


async def _handlers(connection: Connection, group: str) -> list[Finding]:
    ask = over_nats(connection, group, PATIENCE)
    try:
        answer = await ask("ping", {})
    except BackchannelError as problem:
        return [
            bad("handlers", f"group {group}: {problem.message}", "see logs/handlers.log in the data folder")
        ]
    return [good("handlers", f"group {group} is answered for"), _clock(answer)]


async def _audit(connection: Connection, group: str) -> Finding:
    """Whether the copies of the audit trail are whole and up to date, as far as a look tells."""
    try:
        told = await ask(connection, group, PATIENCE)
    except BackchannelError:
        return bad(
            "audit",
            f"group {group}: nobody keeps the audit trail",
            "see logs/handlers.log in the data folder",
        )
    if faults := faults_of(told):
        return bad("audit", f"group {group}: {'; '.join(faults)}", "backchannel audit verify")
    return good("audit", f"group {group}: {told['position']} records, in {len(told['copies']) + 1} copies")


def _clock(answer: dict[str, Any]) -> Finding:
    apart = abs((datetime.fromisoformat(answer["server_time"]) - datetime.now(UTC)).total_seconds())
    if apart > CLOCKS_APART:
        return bad("clock", f"it differs by {apart:.1f} s from that of the handlers", "set both by NTP")
    return good("clock", f"within {CLOCKS_APART:g} s of that of the handlers")
