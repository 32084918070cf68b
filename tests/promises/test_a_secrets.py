"""No secret is written where it does not belong: logs, argument lists, pages, the streams."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.promises.http import fetch
from tests.promises.running import Platform, Raw, descendants

pytestmark = pytest.mark.asyncio
LONG_ENOUGH = 16
"""Characters from which on a text in a secret file is looked for; shorter ones are found by chance."""


def kept_secrets(data: Path) -> set[str]:
    """Every secret text in the data folder: whole files, and each value of those that are JSON."""
    found: set[str] = set()
    for path in (data / "secrets").rglob("*"):
        if path.is_file():
            text = path.read_text("utf-8").strip()
            found.add(text)
            with contextlib.suppress(ValueError):
                found |= set(strings(json.loads(text)))
    return {text for text in found if len(text) >= LONG_ENOUGH}


def strings(value: object) -> list[str]:
    match value:
        case str():
            return [value]
        case dict():
            return [text for part in value.values() for text in strings(part)]
        case list():
            return [text for part in value for text in strings(part)]
    return []


async def used(platform: Platform) -> set[str]:
    """Do everything that handles a secret, in right ways and wrong ones; the secrets that were shown."""
    shown = {await platform.token("ada"), platform.signed("bob"), platform.signed("eve", exp=1)}
    ada = await platform.agent("ada")
    again = await platform.agent("ada", resume={"session": ada.welcome["session"], "cursor": None})
    shown |= {ada.token, again.token, ada.welcome["session"], again.welcome["session"]}
    renewed = platform.signed("ada")
    await again.result("renew", token=renewed)
    await again.result("renew", token="not.a.token-at-all")
    thief = await platform.connect(platform.signed("ada"))
    with contextlib.suppress(ConnectionClosed):
        await thief.hello(resume={"session": ada.welcome["session"]})
    for token in (platform.signed("eve", exp=1), platform.signed("eve")[:-4] + "AAAA"):
        shown.add(token)
        with contextlib.suppress(InvalidStatus):
            await Raw.open(platform.ws, token)
        await fetch(f"{platform.http}/store", {"type": "memory_update"}, Authorization=f"Bearer {token}")
    shown |= {renewed, thief.token, "not.a.token-at-all"}
    await platform.run("status")
    await platform.run("doctor")
    return shown


async def test_no_secret_of_a_whole_run_is_in_a_log_a_page_or_an_argument_list(fragile: Platform) -> None:
    secrets = await used(fragile) | kept_secrets(fragile.data)
    pages = [(await fetch(f"{fragile.http}{page}")).body for page in ("/health", "/metrics", "/schema.json")]
    lines = [fragile.command_line(pid) for pid in [fragile.pid, *descendants(fragile.pid)]]
    assert await fragile.stop() == 0
    logs = {path: path.read_text("utf-8", "replace") for path in (fragile.data / "logs").rglob("*.log")}
    assert len(secrets) > 10 and all(lines) and any("turned_away" in text for text in logs.values())
    told = [*pages, *lines, *logs.values()]
    assert [secret[:6] for secret in secrets if any(secret in text for text in told)] == []
    texts = [path.read_bytes() for path in fragile.data.rglob("*.blk")]
    assert texts
    assert [secret[:6] for secret in secrets if any(secret.encode() in text for text in texts)] == []


async def test_secrets_are_for_their_owner_alone(fragile: Platform) -> None:
    folder = fragile.data / "secrets"
    modes = {path.name: path.stat().st_mode & 0o777 for path in [folder, *folder.rglob("*")]}
    assert len(modes) > 1 and not [name for name, mode in modes.items() if mode & 0o077]
