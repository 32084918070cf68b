"""One handlers process from start to stop: connections, services, queries, housekeeping."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence

from backchannel.errors import BackchannelError
from backchannel.jetstream.address import Address
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.sweep import sweep
from backchannel.logger import Logger
from backchannel.protocol.subject import COMMANDS
from backchannel.service.declare import Service
from backchannel.service.desk import Desks
from backchannel.service.follower import Following
from backchannel.service.house import House
from backchannel.service.inquire import Inquiries
from backchannel.service.keeping import NOWHERE, Records
from backchannel.service.runner import Runner
from backchannel.service.shedding import shed
from backchannel.service.timers import Timers
from backchannel.service.trust import Trust
from backchannel.service.watcher import Watching

log = Logger(__name__)

KEPT_AFTER_HANDLING = 600.0
"""Seconds for which a handled command stays: twice the window in which its repetition is recognised."""
SWEEP_EVERY = 60.0
SHED_EVERY = 5.0
AGAIN = 1.0


async def serve(
    services: Sequence[Service],
    address: Address,
    groups: Sequence[str],
    stop: asyncio.Event,
    ready: Callable[[], None],
    records: Records = NOWHERE,
    trust: Trust | None = None,
) -> None:
    """Run the services until ``stop`` is set; call ``ready`` once all run. What fails is started again."""
    connection = await Connection.open(address, name="handlers", wait=None)
    house = House(connection, groups, records, trust)
    try:
        await house.open()
        inquiries = Inquiries(services, house)
        await inquiries.open()
        desks = Desks(services, house)
        await desks.open()
        async with asyncio.TaskGroup() as running:
            tasks = [running.create_task(_kept_up(name, work)) for name, work in _works(services, house)]
            if await _announced(services, house, stop):
                ready()
            await stop.wait()
            for task in tasks:
                task.cancel()
        await desks.close()
        await inquiries.close()
    finally:
        await house.close()
        await connection.close()


async def _announced(services: Sequence[Service], house: House, stop: asyncio.Event) -> bool:
    """Wait for the services that the process is not ready without; False when it is to stop first."""
    stopped = asyncio.ensure_future(stop.wait())
    for service in services:
        if service.awaited:
            announced = asyncio.ensure_future(house.announced(service.name))
            await asyncio.wait([announced, stopped], return_when=asyncio.FIRST_COMPLETED)
            announced.cancel()
    stopped.cancel()
    return not stop.is_set()


Work = Callable[[], Awaitable[None]]


def _works(services: Sequence[Service], house: House) -> list[tuple[str, Work]]:
    runners: list[tuple[str, Work]] = [
        (service.name, Runner(service, house, group).run)
        for service in services
        if service.answerers
        for group in house.groups
    ]
    followers: list[tuple[str, Work]] = [
        (service.name, Following(service.name, follower, patterns, house, group).run)
        for service in services
        for patterns, follower in service.followers.items()
        for group in house.groups
    ]
    timers: list[tuple[str, Work]] = [
        (f"{service.name} timers", Timers(service, house, group).run)
        for service in services
        if service.timers
        for group in house.groups
    ]
    duties: list[tuple[str, Work]] = [
        (f"{service.name} {name}", functools.partial(duty, house))
        for service in services
        for name, duty in service.duties.items()
    ]
    watchers: list[tuple[str, Work]] = [
        (f"{service.name} watch", Watching(service.name, watcher, bucket, house, group).run)
        for service in services
        for bucket, watcher in service.watchers.items()
        for group in house.groups
    ]
    return [
        *runners,
        *followers,
        *timers,
        *watchers,
        *duties,
        ("sweep", lambda: _sweeping(house)),
        ("shed", lambda: _shedding(house)),
    ]


async def _kept_up(name: str, work: Work) -> None:
    """Start it again, after a pause, whenever it fails: the log has everything it needs to go on."""
    while True:
        try:
            return await work()
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("service_failed", service=name, again_in=AGAIN)
        await asyncio.sleep(AGAIN)


async def _shedding(house: House) -> None:
    while True:
        try:
            for group in house.groups:
                await shed(house, group)
        except BackchannelError as error:
            log.warning("shedding_postponed", error=error.message)
        await asyncio.sleep(SHED_EVERY)


async def _sweeping(house: House) -> None:
    while True:
        await asyncio.sleep(SWEEP_EVERY)
        try:
            for group in house.groups:
                await sweep(house.connection, COMMANDS, KEPT_AFTER_HANDLING, filter=f"bc.{group}.cmd.>")
        except BackchannelError as error:
            log.warning("sweep_postponed", error=error.message)
