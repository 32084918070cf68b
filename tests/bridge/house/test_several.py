"""One agent at several bridges: who may be there is decided as if there were one bridge."""

from __future__ import annotations

import asyncio
import json

import pytest
from websockets.exceptions import InvalidStatus

from backchannel.jetstream.bucket import Bucket
from bridge.peer import Peer
from tests.bridge.house.client import Client, eventually
from tests.bridge.house.conftest import Platform


@pytest.fixture
async def two(platform: Platform) -> Platform:
    await platform.bridge()
    return platform


async def refused(client: Client, **hello: object) -> int:
    """The close code of a connection that may not come in."""
    await client.raw({"type": "hello", **hello})
    assert (await client.frame("error"))["code"] == "forbidden"
    return await client.closed()


def old_session_counts(peer: Peer) -> bool:
    return peer.holding is not None and peer.holding.record.previous is not None


async def test_a4_a_second_active_connection_at_another_bridge_is_refused_while_the_first_answers(
    two: Platform,
) -> None:
    first = await two.agent("ada")
    assert await refused(await two.connect("ada", bridge=1)) == 4409
    await first.alive()
    assert (await first.remember("still me"))["type"] == "accepted"


async def test_a4_one_that_no_longer_answers_gives_way_to_one_at_another_bridge(two: Platform) -> None:
    first = await two.agent("ada")
    first.socket.transport.pause_reading()
    second = await two.connect("ada", bridge=1)
    await second.live()
    first.socket.transport.resume_reading()
    assert await first.closed() == 4409
    await second.alive()


async def test_a4_there_are_two_at_most_on_all_bridges_together(two: Platform) -> None:
    active = await two.agent("ada")
    watching = await two.connect("ada", bridge=1)
    await watching.live(permission="observer")
    for bridge in (0, 1):
        assert await refused(await two.connect("ada", bridge=bridge), permission="observer") == 4409
    await active.alive()
    await watching.alive()


async def test_a4_of_many_that_come_to_all_bridges_at_once_one_is_let_in(two: Platform) -> None:
    clients = [await two.connect("ada", bridge=number % 2) for number in range(8)]
    await asyncio.gather(*(one.raw({"type": "hello"}) for one in clients))
    await asyncio.gather(*(one.until(lambda it: it.frames, patience=60) for one in clients))
    welcomed = [one for one in clients if one.frames[0]["type"] == "welcome"]
    assert len(welcomed) == 1
    assert {await one.closed() for one in clients if one is not welcomed[0]} == {4409}
    await welcomed[0].alive()


async def test_a4_who_left_one_bridge_is_let_in_at_another_at_once(two: Platform) -> None:
    for bridge in (0, 1, 0, 1):
        here = await two.connect("ada", bridge=bridge)
        await here.live()
        await here.leave()


async def test_a4_a_bridge_that_is_gone_holds_no_seat(two: Platform) -> None:
    await two.agent("ada")
    house = two.bridges[0].house
    await house.reading.close()  # as if it had been killed: nobody answers for its connections
    second = await two.connect("ada", bridge=1)
    await second.live()
    await second.alive()


async def test_a4_seats_that_nobody_can_read_keep_nobody_out(two: Platform) -> None:
    seats = Bucket(two.connection, "BC_seats")
    await seats.put("main.ada", b"[{]")
    ada = await two.agent("ada")
    taken = await seats.get("main.ada")
    assert taken is not None and len(json.loads(taken.payload)) == 1
    await ada.leave()
    await eventually(lambda: not two.bridges[0].house.company.here)


async def test_a3_a_nonce_opens_one_connection_on_all_bridges_together(two: Platform) -> None:
    said = {"nonce": "used-once-only"}
    first = await two.connect("ada", **said)
    await first.live()
    await first.leave()
    for bridge in (0, 1):
        assert await refused(await two.connect("ada", bridge=bridge, **said)) == 4403


async def test_a3_of_two_that_use_one_nonce_at_the_same_moment_one_comes_in(two: Platform) -> None:
    said = {"nonce": "used-by-two-at-once"}
    clients = [await two.connect("ada", bridge=bridge, **said) for bridge in (0, 1)]
    hellos = [{"type": "hello", "permission": kind} for kind in ("active", "observer")]
    await asyncio.gather(*(one.raw(hello) for one, hello in zip(clients, hellos, strict=True)))
    await asyncio.gather(*(one.until(lambda it: it.frames, patience=60) for one in clients))
    assert sorted(one.frames[0]["type"] for one in clients) == ["error", "welcome"]


async def test_a3_another_agents_token_with_the_same_nonce_is_another_token(platform: Platform) -> None:
    for name in ("ada", "bob"):
        found = await platform.connect(name, nonce="the-same-for-both")
        await found.live()


async def test_a3_who_goes_on_with_its_session_needs_no_fresh_nonce(platform: Platform) -> None:
    first = await platform.connect("ada", nonce="one-connection")
    await first.live()
    second = await platform.connect("ada", nonce="one-connection")
    await second.live(resume={"session": first.welcome["session"]})
    assert await first.closed() == 4409


async def test_a3_bearer_tokens_can_be_switched_off(platform: Platform) -> None:
    await platform.bridge(bearer_tokens=False)
    strict = len(platform.bridges) - 1
    with pytest.raises(InvalidStatus) as refusal:
        await platform.connect("ada", bridge=strict)
    assert refusal.value.response.status_code == 401
    found = await platform.connect("ada", bridge=strict, nonce="good-for-this-one")
    await found.live()


async def test_a5_a_live_session_is_told_that_an_old_token_was_shown_at_another_bridge(two: Platform) -> None:
    first = await two.agent("ada")
    second = await two.agent("ada", resume={"session": first.welcome["session"]})
    house = two.bridges[0].house
    await eventually(lambda: not house.chores.errands and not any(map(old_session_counts, house.peers)))
    thief = await two.connect("ada", bridge=1)
    assert await refused(thief, resume={"session": first.welcome["session"]}) == 4410
    warning = await second.frame("error")
    assert warning["in_reply_to"] is None and "session" in warning["message"]
    await second.alive()


async def test_a5_a_stored_session_that_was_tampered_with_is_not_trusted(platform: Platform) -> None:
    ada = await platform.agent("ada")
    await ada.leave()
    await eventually(lambda: not platform.bridges[0].house.chores.errands)
    sessions = Bucket(platform.connection, "BC_sessions")
    kept = await sessions.get("main.ada.primary")
    assert kept is not None
    forged = json.loads(kept.payload) | {"acked": 10**6}
    await sessions.put("main.ada.primary", json.dumps(forged).encode())
    thief = await platform.connect("ada")
    assert await refused(thief, resume={"session": ada.welcome["session"]}) == 4410
    again = await platform.agent("ada")
    assert again.welcome["outcome"] == "live_only"
    await again.alive()


async def test_a5_the_stored_session_of_another_agent_is_worth_nothing_under_ones_own_name(
    platform: Platform,
) -> None:
    bob = await platform.agent("bob")
    await bob.leave()
    await eventually(lambda: not platform.bridges[0].house.chores.errands)
    sessions = Bucket(platform.connection, "BC_sessions")
    kept = await sessions.get("main.bob.primary")
    assert kept is not None
    await sessions.put("main.ada.primary", kept.payload)
    thief = await platform.connect("ada")
    assert await refused(thief, resume={"session": bob.welcome["session"]}) == 4410
