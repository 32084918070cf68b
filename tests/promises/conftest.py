"""One platform for all tests of a module, and one of its own for those that break it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.promises.running import Platform


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def serving(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    running = await Platform(tmp_path_factory.mktemp("platform")).start()
    yield running
    assert await running.stop() == 0


@pytest_asyncio.fixture(loop_scope="module")
async def platform(serving: Platform) -> AsyncIterator[Platform]:
    """The module's platform; what a test leaves connected is closed behind it."""
    yield serving
    await serving.part()


@pytest_asyncio.fixture
async def fragile(tmp_path: Path) -> AsyncIterator[Platform]:
    """A platform that may be broken."""
    running = await Platform(tmp_path / "data").start()
    yield running
    await running.part()
    await running.stop()
