"""What every test may ask for: a nats-server of its own, and a connection to it."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from backchannel.jetstream.connection import Connection
from backchannel.jetstream.embedded import Server
from tests.ports import free_port

# How long an example takes only says how busy the machine is. The same examples come every time, so that
# what fails with a change fails because of it; `--hypothesis-profile=explore` draws others.
UNHURRIED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", **UNHURRIED, derandomize=True)
settings.register_profile("explore", **UNHURRIED)
settings.load_profile("same")

# Whoever is started in the background is deaf to Ctrl-C, and so is everything that it starts in its turn.
signal.signal(signal.SIGINT, signal.default_int_handler)

LONGEST = ("tests/handlers/test_walks.py", "tests/test_", "tests/promises/", "tests/client/", "tests/cli/")
"""Files that take long begin first, so that no worker is left with one when the others are done."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return next((at for at, path in enumerate(LONGEST) if item.nodeid.startswith(path)), len(LONGEST))

    items.sort(key=place)


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[Server]:
    """A running nats-server on a free port that no other test sees. `nats_server.address()` logs in."""
    server = Server(tmp_path / "nats", port=free_port())
    await server.start()
    yield server
    server.kill()
    await server.wait()


@pytest.fixture
async def connection(nats_server: Server) -> AsyncIterator[Connection]:
    """The platform's connection to `nats_server`."""
    async with await Connection.open(nats_server.address(), name="test") as opened:
        yield opened
