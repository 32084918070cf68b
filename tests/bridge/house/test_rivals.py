"""One agent, few connections: who may be there, who gives way, and whose session it is."""

from __future__ import annotations

import asyncio

from tests.bridge.house.client import eventually
from tests.bridge.house.conftest import Platform


async def test_a_resume_replaces_the_old_connection_at_once(platform: Platform) -> None:
    old = await platform.agent("ada")
    new = await platform.agent("ada", resume={"session": old.welcome["session"]})
    assert await old.closed() == 4409
    assert new.welcome["outcome"] == "resumed"
    assert new.welcome["session"] != old.welcome["session"]
    await new.alive()


async def test_a_resume_at_another_bridge_replaces_it_as_well(platform: Platform) -> None:
    await platform.bridge()
    old = await platform.agent("ada")
    new = await platform.connect("ada", bridge=1)
    await new.live(resume={"session": old.welcome["session"]})
    assert await old.closed() == 4409
    await new.alive()
    assert (await new.remember("here I am"))["type"] == "accepted"


async def test_an_old_session_token_is_refused_as_stolen(platform: Platform) -> None:
    first = await platform.agent("ada")
    second = await platform.agent("ada", resume={"session": first.welcome["session"]})
    await second.alive()
    thief = await platform.connect("ada")
    await thief.raw({"type": "hello", "resume": {"session": first.welcome["session"]}})
    assert (await thief.frame("error"))["code"] == "forbidden"
    assert await thief.closed() == 4410
    await second.alive()


async def test_the_session_token_of_another_agent_is_refused(platform: Platform) -> None:
    bob = await platform.agent("bob")
    ada = await platform.agent("ada")
    await ada.leave()
    thief = await platform.connect("ada")
    await thief.raw({"type": "hello", "resume": {"session": bob.welcome["session"]}})
    assert await thief.closed() == 4410
    await bob.alive()


async def test_a_client_that_never_got_its_new_session_token_may_use_the_old_one(platform: Platform) -> None:
    ada = await platform.agent("ada")
    await ada.leave()
    session = ada.welcome["session"]
    lost = await platform.connect("ada")
    lost.socket.transport.pause_reading()
    await lost.raw({"type": "hello", "resume": {"session": session}})
    house = platform.bridges[0].house
    await eventually(lambda: any(peer.holding for peer in house.peers))
    lost.vanish()
    again = await platform.agent("ada", resume={"session": session})
    assert again.welcome["outcome"] == "resumed"
    await again.alive()


async def test_a_second_active_connection_is_refused_while_the_first_answers(platform: Platform) -> None:
    first = await platform.agent("ada")
    second = await platform.connect("ada")
    await second.raw({"type": "hello"})
    assert (await second.frame("error"))["code"] == "forbidden"
    assert await second.closed() == 4409
    await first.alive()
    assert (await first.remember("still me"))["type"] == "accepted"


async def test_the_first_gives_way_when_it_no_longer_answers(platform: Platform) -> None:
    first = await platform.agent("ada")
    first.socket.transport.pause_reading()
    second = await platform.agent("ada")
    await second.alive()
    first.socket.transport.resume_reading()
    assert await first.closed() == 4409


async def test_an_agent_has_one_active_connection_and_one_more(platform: Platform) -> None:
    active = await platform.agent("ada")
    watching = await platform.agent("ada", permission="observer")
    third = await platform.connect("ada")
    await third.raw({"type": "hello", "permission": "observer"})
    assert await third.closed() == 4409
    said = await active.remember("both of me hear this")
    await active.hears(said["in_reply_to"])
    await watching.hears(said["in_reply_to"])


async def test_an_observer_does_not_take_the_place_of_the_active_one(platform: Platform) -> None:
    active = await platform.agent("ada")
    await platform.agent("ada", permission="observer")
    again = await platform.agent("ada", resume={"session": active.welcome["session"]})
    assert again.welcome["outcome"] == "resumed"
    assert await active.closed() == 4409


async def test_many_that_want_one_place_leave_one_of_them_there(platform: Platform) -> None:
    clients = [await platform.connect("ada") for _ in range(8)]
    await asyncio.gather(*(one.raw({"type": "hello"}) for one in clients))
    await asyncio.gather(*(one.until(lambda it: it.welcome or it.frames, patience=30) for one in clients))
    welcomed = [one for one in clients if one.frames[0]["type"] == "welcome"]
    refused = [one for one in clients if one not in welcomed]
    assert len(welcomed) == 1
    assert {await one.closed() for one in refused} == {4409}
    await welcomed[0].alive()


async def test_who_was_turned_away_leaves_no_trace(platform: Platform) -> None:
    first = await platform.agent("ada")
    for _ in range(3):
        second = await platform.connect("ada")
        await second.raw({"type": "hello"})
        assert await second.closed() == 4409
    await first.leave()
    third = await platform.agent("ada")
    await third.alive()
    assert len(platform.bridges[0].house.roster.of("main", "ada")) == 1


async def test_an_observers_session_is_its_own(platform: Platform) -> None:
    active = await platform.agent("ada")
    one = await platform.agent("ada", permission="observer")
    await active.leave()
    two = await platform.agent("ada", permission="observer")
    await one.alive()
    again = await platform.agent("ada", permission="observer", resume={"session": two.welcome["session"]})
    assert await two.closed() == 4409
    await one.alive()
    await again.alive()
