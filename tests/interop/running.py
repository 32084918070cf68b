"""A whole platform, started the way a stranger starts it: `backchannel up` in a folder of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The command as it was installed beside this Python.
BACKCHANNEL = str(Path(sys.executable).with_name("backchannel"))
PATIENCE = 60.0


class NotReady(Exception):
    """`backchannel up` ended, or said nothing, before it was ready; the message holds what it wrote."""


@dataclass(frozen=True)
class Running:
    """Addresses of a running platform, and the folder that holds its secrets."""

    home: Path
    ws: str
    http: str
    nats: str

    def operator(self) -> tuple[str, str]:
        """User and password of the operator's NATS login."""
        login: dict[str, Any] = json.loads((self.home / "secrets" / "nats.json").read_text())["operator"]
        return login["user"], login["password"]

    async def token(self, entity: str, *flags: str) -> str:
        return await command("token", "create", entity, "--data", str(self.home), *flags)


async def command(*words: str) -> str:
    """Run `backchannel …` to its end and return what it printed; a failure raises with its stderr."""
    child = await asyncio.create_subprocess_exec(
        BACKCHANNEL, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(child.communicate(), PATIENCE)
    if child.returncode:
        raise RuntimeError(f"backchannel {' '.join(words)} ended with {child.returncode}: {err.decode()}")
    return out.decode().strip()


@asynccontextmanager
async def platform(home: Path, *flags: str) -> AsyncIterator[Running]:
    """Start the platform, yield it once it serves, stop it cleanly."""
    words = ("up", "--data", str(home), "--port", "0", "--nats-port", "0", *flags)
    child = await asyncio.create_subprocess_exec(
        BACKCHANNEL, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert child.stdout is not None
    try:
        ws, http, nats = await asyncio.wait_for(addresses(child.stdout), PATIENCE)
        # Whatever it says from now on is read, so that it never blocks on a full pipe.
        rest = asyncio.create_task(child.stdout.read())
        yield Running(home, ws, http, nats)
    finally:
        if child.returncode is None:
            child.terminate()
        await asyncio.wait_for(child.wait(), PATIENCE)
    await rest
    assert child.returncode == 0, f"a clean stop ends with 0, not {child.returncode}"


async def addresses(output: asyncio.StreamReader) -> list[str]:
    """The three addresses of the `ready` line."""
    said = []
    while line := (await output.readline()).decode():
        said.append(line)
        if line.startswith("ready "):
            return line.split()[1:4]
    raise NotReady("".join(said))
