"""`backchannel status`: how the platform is, on one screen."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import click

from backchannel.errors import BackchannelError, Internal, Unavailable
from backchannel.home import Home, Platform
from backchannel.tls import trusting
from cli.door import Where, doors, where_options
from cli.failure import CHECK_FAILED
from cli.group import Command
from cli.health import Health, ask_health, http_of
from cli.terminal import Terminal, age, clean, shown, size


@click.command(cls=Command)
@where_options
@click.pass_obj
def status(terminal: Terminal, where: Where) -> int | None:
    """Show how the platform is, on one screen. Exit code 7 when a part of it does not work."""
    platform = None if where.url or not isinstance(where.settings, Home) else where.platform()
    health = _health(where, platform)
    groups, silence = asyncio.run(_ask(where))
    if silence is not None:
        if not health.code or health.details is None:
            raise silence
        terminal.say(f"note: {silence.message}")
    if terminal.json:
        terminal.put(_document(platform, health, groups))
    else:
        _show(terminal, platform, health, groups)
    return None if health.healthy else CHECK_FAILED


def _health(where: Where, platform: Platform | None) -> Health:
    """Of the bridge, where it is known; elsewhere it is left to the handlers to say how things are."""
    if where.url:
        return ask_health(http_of(where.url), where.timeout)
    if platform is None:
        return Health(200)
    return ask_health(platform.http, where.timeout, trust=trusting(platform.tls_cert))


async def _ask(where: Where) -> tuple[list[dict[str, Any]], BackchannelError | None]:
    """What the handlers say of each group; or why they say nothing."""
    try:
        async with doors(where) as found:
            return [await door.ask("status") for door in found], None
    except (Unavailable, Internal) as problem:
        return [], problem


def _document(platform: Platform | None, health: Health, groups: list[dict[str, Any]]) -> dict[str, Any]:
    told = ("ws", "http", "nats", "started_at", "pid")
    return {
        "status": health.word,
        "health": health.details,
        "platform": {name: getattr(platform, name) for name in told} if platform else None,
        "groups": [{key: value for key, value in group.items() if key != "status"} for group in groups],
    }


def _show(
    terminal: Terminal, platform: Platform | None, health: Health, groups: list[dict[str, Any]]
) -> None:
    color = "green" if health.healthy else "red"
    since = f"  up {age(platform.started_at, datetime.now(UTC))}" if platform else ""
    terminal.line(f"{terminal.paint('●', color)} {health.word}{since}")
    if health.faults:
        terminal.line(f"  {clean(health.faults)}")
    if platform:
        terminal.line(f"  {platform.ws}  {platform.http}  {platform.nats}")
    for group in groups:
        _show_group(terminal, group)


def _show_group(terminal: Terminal, group: dict[str, Any]) -> None:
    agents, log = group.get("agents", {}), group.get("log", {})
    sidebars = "  ".join(f"{name} {count}" for name, count in sorted(group.get("sidebars", {}).items()))
    terminal.line("")
    terminal.line(f"GROUP     {shown(group.get('group'))}")
    terminal.line(f"AGENTS    online {shown(agents.get('online'))}  known {shown(agents.get('known'))}")
    terminal.line(f"SIDEBARS  {sidebars or 'none'}")
    if "messages" in log:
        terminal.line(f"LOG       {shown(log['messages'])} messages  {size(log.get('bytes') or 0)}")
