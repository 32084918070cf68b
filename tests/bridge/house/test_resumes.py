"""Several that show one session token at once: one goes on with it, and the others disturb nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from backchannel.delivery.seats import Seat
from bridge.peer import Peer
from bridge.positions import Place
from bridge.replay import READERS
from bridge.ring import Ring
from tests.bridge.house.client import Client, eventually
from tests.bridge.house.conftest import Platform

MANY = 6
NOW_AND_THEN = ("active", "observer") * (MANY // 2)


async def at_once(platform: Platform, hellos: list[dict[str, Any]]) -> list[Client]:
    """Connections of one agent, each at the next bridge, that say hello together."""
    count = len(platform.bridges)
    found = [await platform.connect("ada", bridge=number % count) for number in range(len(hellos))]
    await asyncio.gather(
        *(one.raw({"type": "hello", **hello}) for one, hello in zip(found, hellos, strict=True))
    )
    return found


async def staying(clients: list[Client], most: int) -> list[Client]:
    """Those that are left when no more than so many are; each of them is welcome and answers."""
    await eventually(lambda: sum(one.socket.close_code is None for one in clients) <= most)
    left = [one for one in clients if one.socket.close_code is None]
    for one in left:
        one.welcome = await one.frame("welcome")
        await one.alive()
    return left


def settled(platform: Platform) -> bool:
    """Everybody has shown that the new session token arrived, and that is written down."""
    houses = [bridge.house for bridge in platform.bridges]
    held = [peer.holding for house in houses for peer in house.peers if peer.holding is not None]
    return all(one.record.previous is None for one in held) and not any(one.chores.errands for one in houses)


async def seated(platform: Platform) -> list[Seat]:
    taken = await platform.bridges[0].house.company.seats.look("main", "ada")
    return sorted(taken.seats, key=lambda seat: seat.connection)


def shown(platform: Platform, session: str) -> str:
    """What a seat keeps of the session token by which it was taken."""
    return platform.bridges[0].house.positions.digest(Place("main", "ada", "primary"), session)


@asynccontextmanager
async def held_up(platform: Platform) -> AsyncIterator[None]:
    """Whoever comes to the first bridge with a cursor gets as far as its session, but not its welcome."""
    house = platform.bridges[0].house
    for peer in house.peers:
        assert peer.feed is not None
        peer.feed.ring = Ring(peer.feed.position)  # what was before has to be read from the log
    for _ in range(READERS):
        await house.readers.acquire()
    try:
        yield
    finally:
        for _ in range(READERS):
            house.readers.release()


async def on_its_way(platform: Platform, session: str) -> Peer:
    """Who has taken a session at the first bridge, and was not told yet."""
    house, digest = platform.bridges[0].house, shown(platform, session)

    def found() -> Peer | None:
        holding = ((peer, peer.holding) for peer in house.peers)
        return next((peer for peer, held in holding if held and held.record.previous == digest), None)

    await eventually(found)
    peer = found()
    assert peer is not None
    return peer


async def refused(client: Client, session: str) -> int | None:
    await client.raw({"type": "hello", "resume": {"session": session}})
    assert (await client.frame("error"))["code"] == "forbidden"
    return await client.closed()


@pytest.mark.parametrize("bridges", [1, 2])
@pytest.mark.parametrize("permissions", [("active",) * MANY, NOW_AND_THEN], ids=["active", "mixed"])
async def test_a5_of_many_that_resume_one_session_at_once_exactly_one_stays(
    platform: Platform, bridges: int, permissions: tuple[str, ...]
) -> None:
    for _ in range(bridges - 1):
        await platform.bridge()
    holder = await platform.agent("ada")
    for _ in range(3):
        session = holder.welcome["session"]
        hellos = [{"permission": one, "resume": {"session": session}} for one in permissions]
        clients = await at_once(platform, hellos)
        (winner,) = await staying(clients, 1)
        assert {await one.closed() for one in clients if one is not winner} <= {4409, 4410}
        assert await holder.closed() == 4409
        assert [seat.connection for seat in await seated(platform)] == [winner.welcome["connection_id"]]
        await eventually(lambda: settled(platform))
        assert await refused(await platform.connect("ada", bridge=bridges - 1), session) == 4410
        await winner.alive()
        holder = winner


@pytest.mark.parametrize("bridges", [1, 2])
async def test_a4_of_many_that_come_at_once_with_no_session_at_most_two_stay_and_one_is_active(
    platform: Platform, bridges: int
) -> None:
    for _ in range(bridges - 1):
        await platform.bridge()
    clients = await at_once(platform, [{"permission": one} for one in NOW_AND_THEN])
    left = await staying(clients, 2)
    assert {await one.closed() for one in clients if one not in left} == {4409}
    assert 1 <= len(left) <= 2
    assert sum(one.welcome["permission"] == "active" for one in left) <= 1
    assert [seat.connection for seat in await seated(platform)] == sorted(
        one.welcome["connection_id"] for one in left
    )


async def test_a5_an_alarm_comes_behind_the_welcome_of_whoever_is_just_coming_in(platform: Platform) -> None:
    await platform.bridge()
    ada = await platform.agent("ada")
    await ada.remember("so that there is something to read")
    resume = {"session": ada.welcome["session"], "cursor": ada.welcome["cursor"]}
    async with held_up(platform):
        first = await platform.connect("ada")
        await first.raw({"type": "hello", "resume": resume})
        peer = await on_its_way(platform, resume["session"])
        assert await refused(await platform.connect("ada", bridge=1), "a foreign one") == 4410
        await eventually(lambda: peer.alarmed)
    warning = await first.frame("error")
    assert warning["in_reply_to"] is None and "session" in warning["message"]
    assert first.frames[0]["type"] == "welcome"
    await first.alive()


@pytest.mark.parametrize("bridge", [0, 1])
async def test_a5_who_never_got_its_welcome_comes_again_though_its_first_connection_seems_open(
    platform: Platform, bridge: int
) -> None:
    await platform.bridge()
    ada = await platform.agent("ada")
    session = ada.welcome["session"]
    silent = await platform.connect("ada")
    silent.socket.transport.pause_reading()
    await silent.raw({"type": "hello", "resume": {"session": session}})
    await on_its_way(platform, session)
    again = await platform.connect("ada", bridge=bridge)
    await again.live(resume={"session": session})
    silent.socket.transport.resume_reading()
    assert await silent.closed() == 4409
    await again.alive()


async def test_a5_a_bridge_that_died_with_the_one_that_resumed_locks_nobody_out(platform: Platform) -> None:
    ada = await platform.agent("ada")
    session, seats = ada.welcome["session"], platform.bridges[0].house.company.seats
    dead = Seat("of-a-dead-bridge", "dead", True, "primary", shown(platform, session))
    await seats.take("main", "ada", [dead], await seats.look("main", "ada"))
    assert await ada.closed() == 4409
    again = await platform.agent("ada", resume={"session": session})
    await again.alive()
    assert [seat.connection for seat in await seated(platform)] == [again.welcome["connection_id"]]
