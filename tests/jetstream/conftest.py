"""A connection to a server that has all streams and buckets of the group `main`."""

from __future__ import annotations

import pytest

from backchannel.jetstream.connection import Connection
from backchannel.jetstream.topology import provision


@pytest.fixture
async def log(connection: Connection) -> Connection:
    await provision(connection, ["main"])
    return connection
