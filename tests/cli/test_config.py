from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.promises.running import Platform

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    running = await Platform(Path(tmp_path_factory.mktemp("platform"))).start()
    yield running
    assert await running.stop() == 0


async def test_a_setting_is_set_for_all_that_run_and_put_back(platform: Platform) -> None:
    assert (await platform.json("config", "get", "approvals.timeout")) == {"approvals.timeout": 300.0}
    assert (await platform.json("config", "set", "approvals.timeout", "60")) == {"approvals.timeout": 60}
    assert (await platform.json("config", "get"))["approvals.timeout"] == 60
    assert (await platform.json("config", "set", "approvals.timeout", "null")) == {"approvals.timeout": 300.0}
    callbacks = '{"hugo": "http://127.0.0.1:9/hook"}'
    told = await platform.json("config", "set", "approvals.callbacks", callbacks)
    assert told == {"approvals.callbacks": {"hugo": "http://127.0.0.1:9/hook"}}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("get", "no.such"), 3),
        (("set", "no.such", "1"), 3),
        (("set", "approvals.timeout", "0"), 2),
        (("set", "approvals.timeout", "soon"), 2),
        (("set", "health.check_interval", "9"), 2),
        (("set", "approvals.fallback", "[1]"), 2),
    ],
)
async def test_what_makes_no_sense_changes_nothing(
    platform: Platform, words: tuple[str, ...], code: int
) -> None:
    before = await platform.json("config", "get")
    assert (await platform.run("config", *words))[0] == code
    assert await platform.json("config", "get") == before
