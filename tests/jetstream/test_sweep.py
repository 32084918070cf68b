"""Only what is both settled and old is swept away."""

from __future__ import annotations

import asyncio

from backchannel.jetstream.connection import Connection
from backchannel.jetstream.embedded import Server
from backchannel.jetstream.entry import MSG_ID, Entry
from backchannel.jetstream.publish import Publisher
from backchannel.jetstream.read import describe
from backchannel.jetstream.sweep import sweep
from backchannel.jetstream.work import Work
from tests.jetstream.faults import crash
from tests.jetstream.test_work import COMMANDS, ask, command, take

SPAWN = ["bc.*.cmd.*.*.sidebar_spawn"]
JOIN = ["bc.*.cmd.*.*.sidebar_join"]


async def held(connection: Connection) -> tuple[int, int]:
    facts = await describe(connection, COMMANDS)
    return facts.first, facts.messages


async def test_unsettled_commands_stay(log: Connection) -> None:
    await ask(log, 5)
    work = await Work.open(log, COMMANDS, "spawn", SPAWN, max_ack_pending=10)
    for _ in range(2):
        await (await take(work)).settle()
    third = await take(work)
    assert await sweep(log, COMMANDS, 0) == 2
    assert await held(log) == (3, 3)
    await third.settle()
    for _ in range(2):
        await (await take(work)).settle()
    assert await sweep(log, COMMANDS, 0) == 3
    assert await held(log) == (6, 0)
    await work.close()


async def test_settled_commands_stay_for_a_while(log: Connection) -> None:
    await ask(log, 3)
    work = await Work.open(log, COMMANDS, "spawn", SPAWN, max_ack_pending=10)
    for _ in range(3):
        await (await take(work)).settle()
    assert await sweep(log, COMMANDS, 600) == 0
    await asyncio.sleep(1.1)
    await Publisher(log).store(command(3))
    assert await sweep(log, COMMANDS, 1) == 3
    assert await held(log) == (4, 1)
    await work.close()


async def test_a_service_that_lags_behind_holds_the_sweep_up(log: Connection) -> None:
    publisher = Publisher(log)
    await publisher.store(command(1))
    await publisher.store(command(2, "sidebar_join"))
    await publisher.store(command(3))
    quick = await Work.open(log, COMMANDS, "spawn", SPAWN, max_ack_pending=10)
    slow = await Work.open(log, COMMANDS, "join", JOIN, max_ack_pending=10)
    for _ in range(2):
        await (await take(quick)).settle()
    assert await sweep(log, COMMANDS, 0) <= 1
    assert (await held(log))[1] >= 2
    await (await take(slow)).settle()
    await sweep(log, COMMANDS, 0)
    assert await held(log) == (4, 0)
    await quick.close()
    await slow.close()


async def test_nothing_is_swept_before_anybody_works(log: Connection) -> None:
    await ask(log, 3)
    assert await sweep(log, COMMANDS, 0) == 0
    assert await held(log) == (1, 3)


async def test_a_repeated_command_is_recognised_after_a_crash(nats_server: Server, log: Connection) -> None:
    await ask(log, 3)
    work = await Work.open(log, COMMANDS, "spawn", SPAWN, max_ack_pending=10)
    for _ in range(3):
        await (await take(work)).settle()
    await sweep(log, COMMANDS, 600)
    await work.close()
    await crash(nats_server)
    assert (await Publisher(log).store(command(1))).duplicate


async def test_what_nobody_here_has_a_consumer_for_is_not_swept(log: Connection) -> None:
    elsewhere = Entry("bc.blue.cmd.normal.ada.sidebar_spawn", b"{}", {MSG_ID: "ada:blue"})
    await Publisher(log).store(elsewhere)
    await ask(log, 2)
    work = await Work.open(log, COMMANDS, "spawn", ["bc.main.cmd.*.*.sidebar_spawn"], max_ack_pending=10)
    for _ in range(2):
        await (await take(work)).settle()
    assert await sweep(log, COMMANDS, 0, filter="bc.main.cmd.>") == 2
    assert await held(log) == (1, 1)
    await work.close()
