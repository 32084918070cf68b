"""Timers, on a real nats-server that is killed, with several that answer them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from pydantic_core import from_json

from backchannel.domain.decision import Decision, Outgoing, Timer
from backchannel.jetstream.answer import api
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.embedded import Server
from backchannel.jetstream.read import Record, following, last
from backchannel.jetstream.topology import provision
from backchannel.jetstream.work import Work
from backchannel.protocol.identifier import PLATFORM
from backchannel.protocol.lane import Lane
from backchannel.protocol.subject import InContext, dues_of, events_stream
from backchannel.service.context import Context
from backchannel.service.declare import Service
from backchannel.service.due import Due, due_in
from backchannel.service.follow import Origin, follow_ups
from backchannel.service.house import House
from backchannel.service.timers import Timers
from tests.build import message
from tests.jetstream.faults import crash

LOG = events_stream("main")
TOLD = "bc.main.evt.ctx.*.*.talk"
LATER = timedelta(days=30)


def clock_service() -> Service:
    """Says in the sidebar of its key that the moment has come; once more in a moment if asked to."""
    service = Service("clock")

    @service.due("strike")
    async def strike(due: Due, ctx: Context) -> Decision:
        event = message("sidebar_message", sidebar_id=due.key, content=str(due.about.get("text", "")))
        again = due.about.get("again", 0)
        more = Timer("clock", "strike", due.key, ctx.now, {"again": again - 1, "text": str(again - 1)})
        out = Outgoing(InContext(due.key, "talk"), Lane.NORMAL, event)
        return Decision((out,), timers=(more,) if again else ())

    @service.due("broken")
    async def broken(due: Due, ctx: Context) -> Decision:
        raise ValueError("it is broken")

    return service


async def start(house: House, *timers: Timer) -> None:
    await house.publisher.commit(follow_ups(Decision(timers=timers), Origin("main", PLATFORM, uuid4())))


def strike(key: str, after: timedelta = timedelta(), **about: object) -> Timer:
    return Timer("clock", "strike", key, datetime.now(UTC) + after, about)


async def told(house: House) -> Counter[str]:
    """How often each sidebar was told, as the log has it."""
    found = await following(house.connection, LOG, TOLD, 0, 10_000)
    return Counter(from_json(record.payload)["sidebar_id"] for record in found)


async def until_told(house: House, number: int) -> Counter[str]:
    async with asyncio.timeout(60):
        while (found := await told(house)).total() < number:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return found


async def until_dead(house: House, number: int) -> list[Record]:
    """What is kept for a person."""
    async with asyncio.timeout(60):
        while True:
            dead = await following(house.connection, "BC_DEAD", "bc.main.dead.clock", 0, 10)
            if len(dead) >= number:
                return dead
            await asyncio.sleep(0.05)


@pytest.fixture
async def house(connection: Connection) -> House:
    await provision(connection, ["main"])
    return House(connection, ["main"])


@asynccontextmanager
async def answering(house: House, processes: int = 1) -> AsyncIterator[None]:
    """Some that answer, all on the same durable consumer."""
    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(Timers(clock_service(), house, "main").run()) for _ in range(processes)]
        yield
        for run in runs:
            run.cancel()


async def test_each_timer_is_answered_once_by_one_of_several(house: House) -> None:
    async with answering(house, 3):
        await start(house, *(strike(f"sb-{number}") for number in range(60)))
        assert await until_told(house, 60) == {f"sb-{number}": 1 for number in range(60)}


async def test_a_timer_is_not_answered_before_its_moment(house: House) -> None:
    async with answering(house):
        moment = datetime.now(UTC) + timedelta(seconds=1.3)
        await start(house, Timer("clock", "strike", "sb-later", moment))
        await until_told(house, 1)
    fired = await last(house.connection, LOG, dues_of("main", "clock"))
    assert fired is not None and datetime.fromisoformat(fired.time) >= moment


async def test_a_timer_comes_due_though_the_server_was_killed_before(
    house: House, nats_server: Server
) -> None:
    await start(house, strike("sb-down", timedelta(seconds=0.5)), strike("sb-up", timedelta(seconds=6)))
    nats_server.kill()
    await nats_server.wait()
    await asyncio.sleep(0.6)  # its moment passes while there is no server
    await nats_server.start()
    async with answering(house):
        assert await until_told(house, 2) == {"sb-down": 1, "sb-up": 1}


async def test_a_stopped_timer_never_comes_even_after_a_kill(house: House, nats_server: Server) -> None:
    await start(house, strike("sb-stopped", timedelta(seconds=4)), strike("sb-marker", timedelta(seconds=5)))
    await start(house, Timer("clock", "strike", "sb-stopped", None))
    await crash(nats_server)
    async with answering(house):
        assert await until_told(house, 1) == {"sb-marker": 1}


async def test_a_timer_replaces_the_one_of_the_same_name_and_key(house: House) -> None:
    async with answering(house):
        await start(house, strike("sb-one", LATER))
        await start(house, strike("sb-one"))
        await until_told(house, 1)
        await start(house, strike("sb-one", timedelta(seconds=3), text="first"))
        await start(house, strike("sb-one", timedelta(seconds=3), text="second"))
        await until_told(house, 2)
        await start(house, strike("sb-marker", timedelta(seconds=1)))
        assert await until_told(house, 3) == {"sb-one": 2, "sb-marker": 1}


async def test_what_was_committed_but_not_settled_does_not_happen_twice(house: House) -> None:
    await start(house, strike("sb-twice", again=1))
    work = await Work.open(
        house.connection, LOG, "clock-timers", [dues_of("main", "clock")], max_ack_pending=32
    )
    async with asyncio.timeout(60):
        delivery = await work.take()
    due = due_in(delivery.record)
    alarm = clock_service().timers[due.name]
    context = Timers(clock_service(), house, "main")._context(due)
    await house.publisher.commit(follow_ups(await alarm(due, context), due.origin))
    delivery.let_go()  # and here whoever answered it dies
    await work.close()
    async with answering(house, 2):
        await until_told(house, 2)
        await settled(house)
        assert await told(house) == {"sb-twice": 2}


async def settled(house: House) -> None:
    """Everything that came due has been answered for good."""
    async with asyncio.timeout(60):
        while True:
            facts = await api(house.connection, f"CONSUMER.INFO.{LOG}.clock-timers")
            if not facts["num_pending"] and not facts["num_ack_pending"]:
                return
            await asyncio.sleep(0.05)


async def test_timers_that_start_timers_lose_none_while_the_server_is_killed(
    house: House, nats_server: Server
) -> None:
    async with answering(house, 2):
        await start(house, *(strike(f"sb-{number}", again=9) for number in range(20)))
        for _ in range(3):
            await until_told(house, (await told(house)).total() + 20)
            await crash(nats_server)
        assert await until_told(house, 200) == {f"sb-{number}": 10 for number in range(20)}
        await settled(house)
        assert (await told(house)).total() == 200


async def test_a_timer_that_cannot_be_answered_is_kept_for_a_person(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backchannel.service.verdict.DELAYS", (0.05,))
    async with answering(house):
        await start(house, Timer("clock", "broken", "sb-1", datetime.now(UTC), {"what": "this"}))
        await start(house, Timer("clock", "unheard-of", "sb-2", datetime.now(UTC)))
        dead = await until_dead(house, 2)
    kept = {from_json(record.payload)["subject"].split(".")[-1]: from_json(record.payload) for record in dead}
    assert "ValueError" in kept["sb-1"]["reason"] and "this" in kept["sb-1"]["payload"]
    assert "unheard-of" in kept["sb-2"]["reason"]
