"""The archive: one at a time, told when it cannot work, and back at work by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

from backchannel.errors import BackchannelError
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.embedded import Server
from backchannel.jetstream.topology import provision
from backchannel.service.audit.archive import Archive
from backchannel.service.audit.standing import ask, faults_of
from backchannel.service.audit.verify import Verification
from backchannel.service.house import House
from backchannel.service.keeping import Records
from backchannel.service.trail import Deed
from tests.eventually import eventually


async def told(connection: Connection) -> list[str] | None:
    """What is wrong with the copies; None while nobody says."""
    try:
        return faults_of(await ask(connection, "main"))
    except BackchannelError:
        return None


async def test_a_folder_that_cannot_be_used_is_told_of_until_it_can(
    connection: Connection, tmp_path: Path
) -> None:
    await provision(connection, ["main"])
    folder = tmp_path / "audit"
    folder.write_text("in the way")
    house = House(connection, ["main"], Records(folder, seed=b"s" * 32))
    working = asyncio.create_task(Archive(house, folder).run())

    async def complains() -> bool:
        faults = await told(connection)
        return bool(faults) and all("cannot be used" in fault for fault in faults or ())

    async def content() -> bool:
        """Both copies have what was written, and the seal upon it."""
        if await told(connection) != []:
            return False
        return all(copy["position"] >= 2 for copy in (await ask(connection, "main"))["copies"])

    await eventually(complains)
    await house.trail.write(Deed("main", "platform", "platform", "started"))
    folder.unlink()
    await eventually(content)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert (await Verification(None, folder, "main").run()).intact
    await house.trail.close()


async def test_two_archives_over_one_folder_keep_every_record_once(
    nats_server: Server, connection: Connection, tmp_path: Path
) -> None:
    await provision(connection, ["main"])
    folder = tmp_path / "audit"
    async with await Connection.open(nats_server.address(), name="second") as other:
        houses = [House(each, ["main"], Records(folder, seed=b"s" * 32)) for each in (connection, other)]
        working = [asyncio.create_task(Archive(house, folder).run()) for house in houses]
        for number in range(200):
            await houses[number % 2].trail.write(Deed("main", "tool", "alice", "execute", {"n": number}))
            if number == 100:
                working[0].cancel()
        await asyncio.gather(working[0], return_exceptions=True)

        async def complete() -> bool:
            verdict = await Verification(connection, folder, "main").run()
            return verdict.intact and verdict.until >= 200

        await eventually(complete)
        working[1].cancel()
        await asyncio.gather(*working, return_exceptions=True)
        for house in houses:
            await house.trail.close()
