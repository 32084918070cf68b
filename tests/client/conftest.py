from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests import ports
from tests.client.scripted import ScriptedBridge, scripted


@pytest.fixture
async def bridge() -> AsyncIterator[ScriptedBridge]:
    async with scripted() as running:
        yield running


@pytest.fixture
def free_port() -> int:
    """A port at which nobody listens."""
    return ports.free_port()
