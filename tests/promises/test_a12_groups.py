"""A12: a native agent of one group hears nothing that is meant for its namesake in another."""

from __future__ import annotations

from collections.abc import AsyncIterator

import nats.errors
import pytest
import pytest_asyncio

from tests.eventually import eventually
from tests.promises.native import Native
from tests.promises.running import Platform

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The client library of NATS leaves the sockets of refused attempts to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def grouped(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    platform = await Platform(tmp_path_factory.mktemp("grouped") / "data").start("--groups", "main,other")
    yield platform
    await platform.stop()


@pytest.mark.parametrize("more", [{}, {"entity_type": "service", "offers": ["file_read"]}], ids=str)
async def test_a12_a_namesake_in_another_group_does_not_get_at_the_inbox(
    grouped: Platform, more: dict[str, object]
) -> None:
    name = "worker" if more else "bob"
    first = await Native.enter(grouped.nats, name, grouped.signed(name, **more))
    foreign = grouped.signed(name, collaboration_group="other", **more)
    with pytest.raises((nats.errors.Error, OSError)):
        await Native.enter(grouped.nats, name, foreign)
    second = await Native.enter(grouped.nats, name, grouped.signed(name, **more))  # its own group may
    await first.close()
    await second.close()

    async def enters() -> bool:
        try:
            native = await Native.enter(grouped.nats, name, foreign)
        except (nats.errors.Error, OSError):
            return False
        await native.close()
        return True

    await eventually(enters)
