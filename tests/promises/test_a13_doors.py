"""A13: every door makes every check that the table says, as seen from outside."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from backchannel.delivery.doors import DOORS, At, Check, Door, Without, checks, composed
from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from backchannel.service.rights import Rights
from tests.promises import doors, native_doors  # noqa: F401  both have drivers
from tests.promises.doors import DRIVERS, ELSEWHERE, HTTP, Scene, Wish
from tests.promises.native import Native
from tests.promises.running import Platform

CELLS = [
    (door, check)
    for door, row in DOORS.items()
    for check, cell in row.items()
    if not isinstance(cell, Without)
]
PACE = 4
"""Messages a second; five seconds' worth at once."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("BACKCHANNEL_MAX_REQUESTS", str(doors.SLOTS))
        changed.setenv("BACKCHANNEL_MAX_REQUESTS_PER_ADDRESS", str(doors.SLOTS))
        changed.setenv("BACKCHANNEL_MAX_UNAUTHENTICATED_PER_ADDRESS", "2")
        platform = await Platform(tmp_path_factory.mktemp("doors")).start()
    user, password = Home(platform.data).nats_login("platform")
    async with await Connection.open(Address(platform.nats, user, password), name="test") as connection:
        for pace in ("messages_per_second", "agent_messages_per_second"):
            await Bucket(connection, "BC_config").put(f"limits.{pace}", json.dumps(PACE).encode())
        await Bucket(connection, "BC_config").put("limits.agent_bytes_per_second", b"65536")
        found = Scene(platform, Rights(connection))
        for door in (*HTTP, Door.WEBSOCKET):
            found.retired[door] = Wish(found, door).token
        found.names[Door.NATIVE_LOGIN] = doors.name()
        found.retired[Door.NATIVE_LOGIN] = platform.signed(found.names[Door.NATIVE_LOGIN])
        former = doors.name()
        found.former = await Native.enter(platform.nats, former, platform.signed(former))
        await platform.json("token", "rotate-key", "--retire-now")
        yield found
        await found.former.close()
    await platform.part()
    assert await platform.stop() == 0


def test_a13_no_cell_of_the_table_is_without_a_test() -> None:
    assert set(CELLS) == {*DRIVERS, *ELSEWHERE}
    assert not DRIVERS.keys() & ELSEWHERE
    assert all(set(row) == set(Check) for row in DOORS.values())


@pytest.mark.parametrize("door", Door, ids=lambda door: door.name)
def test_a13_an_edge_that_lacks_a_step_does_not_start(door: Door) -> None:
    for at in At:
        wanted = checks(door, at)
        steps = {check: check.name for check in wanted}
        assert composed(door, at, steps) == tuple(check.name for check in wanted)
        for check in wanted:
            with pytest.raises(LookupError, match=check.name):
                composed(door, at, {one: name for one, name in steps.items() if one is not check})
        for check in set(Check) - set(wanted):
            with pytest.raises(LookupError, match=check.name):
                composed(door, at, steps | {check: "more"})


def test_a13_all_of_http_is_let_in_alike() -> None:
    assert {checks(door, At.ARRIVAL) for door in (*HTTP, Door.PAGE)} == {(Check.ROOM,)}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("door", [*HTTP, Door.PAGE], ids=lambda door: door.name)
async def test_a13_who_keeps_to_every_check_comes_in(scene: Scene, door: Door) -> None:
    assert (await Wish(scene, door).ask()).status in (200, 404)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("door", "check"), sorted(DRIVERS), ids=lambda one: one.name if isinstance(one, Door | Check) else None
)
async def test_a13_who_fails_one_check_is_refused(scene: Scene, door: Door, check: Check) -> None:
    await DRIVERS[door, check](scene, door)
    await scene.platform.part()
