from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest

from tests.client.scripted import ScriptedBridge, scripted


@pytest.fixture
async def bridge() -> AsyncIterator[ScriptedBridge]:
    async with scripted() as running:
        yield running


@pytest.fixture
def free_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
