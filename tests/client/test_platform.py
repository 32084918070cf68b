"""The SDK and a whole platform: bridge, handlers, nats-server, each in a process of its own."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backchannel.client import (
    Agent,
    Gap,
    Incoming,
    MemoryUpdate,
    MentionRoute,
    SidebarClosed,
    SidebarMerge,
    SidebarMessage,
    SidebarSpawn,
    ask_once,
    compose,
)
from backchannel.client.connecting import Connecting
from backchannel.delivery.token import draft, sign
from backchannel.errors import BackchannelError, Forbidden, IllegalTransition, NotFound, Refused, UnknownAgent
from backchannel.home import Home
from tests.promises.running import Platform

WAIT = 60.0


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    running = await Platform(tmp_path / "data").start()
    yield running
    await running.stop()


def arriving(platform: Platform, name: str, queue: int = 1000) -> Connecting[Agent]:
    return Agent.connect(name, data=platform.data, patience=30, timeout=WAIT, queue=queue)


def numbers(messages: list[Incoming]) -> list[int]:
    return [int(str(m.exchange.content)) for m in messages if isinstance(m, MemoryUpdate)]


async def heard(me: Agent, count: int) -> list[int]:
    """The next `count` numbers."""
    async with asyncio.timeout(WAIT):
        return numbers([await me.next() for _ in range(count)])


async def say_numbers(me: Agent, count: int, said: asyncio.Queue[int]) -> None:
    """Twenty at a time; `said` is told what has been answered."""
    for start in range(0, count, 20):
        await asyncio.gather(*(me.remember(str(n)) for n in range(start, start + 20)))
        said.put_nowait(start + 20)


async def until_said(said: asyncio.Queue[int], count: int) -> None:
    async with asyncio.timeout(WAIT):
        while await said.get() < count:
            pass


async def test_an_agent_on_this_machine_needs_no_token(platform: Platform) -> None:
    async with arriving(platform, "ada") as ada, arriving(platform, "bob") as bob:
        await ada.remember("1", topic="tls")
        assert await heard(bob, 1) == [1]
        assert {found["agent_id"] for found in (await bob.ask("agents"))["agents"]} == {"ada", "bob"}


async def test_a_mention_waits_for_an_agent_that_is_away(platform: Platform) -> None:
    await platform.token("bob")
    async with arriving(platform, "ada") as ada:
        await ada.mention("bob", "Look at this.", urgent=True)
        with pytest.raises(UnknownAgent):
            await ada.mention("nobody", "Hello?")
    async with arriving(platform, "bob") as bob:
        message = await bob.next(timeout=WAIT)
        assert isinstance(message, MentionRoute)
        assert message.message == "Look at this."


async def test_two_agents_share_a_sidebar_from_its_opening_to_its_end(platform: Platform) -> None:
    async with arriving(platform, "ada") as ada, arriving(platform, "bob") as bob:
        async with ada.sidebar("Find out.", with_=["bob"]) as room:
            assert set(room.participants) == {"ada", "bob"}
            invited = await bob.next(timeout=WAIT)
            assert isinstance(invited, SidebarSpawn)
            answering = asyncio.ensure_future(answer_until_closed(bob, room.id))
            await room.say("Who was it?")
            async for message in room.messages():
                assert isinstance(message, SidebarMessage)
                assert message.content == "It was backup."
                break
            async with room.child("Look closer.", with_=["bob"]) as child:
                await child.archive("Close enough.")
            await room.merge("backup, from one address")
        assert "sidebar_closed" in await asyncio.wait_for(answering, WAIT)
        kept = [exchange async for exchange in bob.context(page=1)]
    assert [exchange["type"] for exchange in kept] == ["sidebar_merge"]


async def answer_until_closed(me: Agent, sidebar_id: str) -> list[str]:
    room = me.open_sidebar(sidebar_id)
    kinds = []
    async for message in room.messages():
        kinds.append(message.type if not isinstance(message, Gap) else "gap")
        if isinstance(message, SidebarMessage):
            await room.say("It was backup.")
    return kinds


async def test_a_merge_reaches_main_and_the_closing_its_participants(platform: Platform) -> None:
    async with arriving(platform, "ada") as ada, arriving(platform, "bob") as bob:
        room = await ada.sidebar("Find out.", with_=["bob"])
        await room.merge({"address": "203.0.113.77"}, success=True)
        got = [await bob.next(timeout=WAIT) for _ in range(3)]
    assert {type(message) for message in got} == {SidebarSpawn, SidebarMerge, SidebarClosed}


async def test_a_sidebar_whose_block_raises_has_failed(platform: Platform) -> None:
    async with arriving(platform, "ada") as ada:
        with pytest.raises(ZeroDivisionError):
            async with ada.sidebar("Divide.") as room:
                raise ZeroDivisionError("by nothing")
        found = (await ada.ask("sidebar", sidebar_id=room.id))["sidebar"]
        assert found["status"] == "failed"
        with pytest.raises(IllegalTransition):
            await room.merge("Too late.")


async def test_refusals_are_raised_as_what_they_are(platform: Platform) -> None:
    async with arriving(platform, "ada") as ada, arriving(platform, "bob") as bob:
        room = await ada.sidebar("Alone.")
        with pytest.raises(Forbidden):
            await bob.open_sidebar(room.id).say("May I?")
        with pytest.raises(Forbidden):
            await bob.join(room.id)
        with pytest.raises(NotFound):
            await ada.open_sidebar("no-such").merge("?")
        with pytest.raises(UnknownAgent):
            await room.invite("nobody")
        await room.invite("bob")
        assert (await bob.open_sidebar(room.id).say("Here.")).type == "accepted"


async def test_a_message_sent_twice_is_stored_once(platform: Platform) -> None:
    async with arriving(platform, "ada") as ada:
        message = compose(MemoryUpdate, context_id="main", exchange={"content": "Once."})
        assert (await ada.send(message)).type == "accepted"
        assert (await ada.send(message)).type == "duplicate_ack"
        assert len([exchange async for exchange in ada.context()]) == 1


async def test_nothing_is_lost_or_doubled_while_the_bridge_is_killed_again_and_again(
    platform: Platform,
) -> None:
    async with arriving(platform, "ada") as ada, arriving(platform, "bob") as bob:
        listening = asyncio.ensure_future(heard(bob, 1500))
        said: asyncio.Queue[int] = asyncio.Queue(maxsize=100)
        saying = asyncio.ensure_future(say_numbers(ada, 1500, said))
        for share in (300, 700, 1100):
            await until_said(said, share)
            assert platform.kill("-m bridge")
        await asyncio.wait_for(saying, 2 * WAIT)
        assert sorted(await asyncio.wait_for(listening, WAIT)) == list(range(1500))
        kept = [int(exchange["exchange"]["content"]) async for exchange in bob.context(page=500)]
    assert sorted(kept) == list(range(1500))


async def test_a_slow_agent_hears_everything_in_order_and_stays_connected(platform: Platform) -> None:
    async with arriving(platform, "ada") as ada, arriving(platform, "bob", queue=30) as bob:
        inbox = bob.inbox()
        saying = asyncio.ensure_future(say_in_order(ada, 3000))
        got = []
        async with asyncio.timeout(2 * WAIT):
            async for message in inbox:
                got += numbers([message])
                assert len(bob.mailroom.inbox) <= 60 + 100  # And what one frame holds.
                if got[-1] % 500 == 0:
                    await bob.ask("ping")
                if got[-1] == 2999:
                    break
        await saying
    assert got == list(range(3000))


async def say_in_order(me: Agent, count: int) -> None:
    for n in range(count):
        await me.remember(f"{n}")


async def test_an_unfinished_message_comes_again_and_a_finished_one_does_not(platform: Platform) -> None:
    async with arriving(platform, "bob"):
        pass
    async with arriving(platform, "ada") as ada:
        for text in ("first", "second", "third"):
            await ada.mention("bob", text)
    with pytest.raises(ZeroDivisionError):
        async with arriving(platform, "bob") as bob:
            async for message in bob.inbox():
                if isinstance(message, MentionRoute) and message.message == "second":
                    raise ZeroDivisionError
    async with arriving(platform, "bob") as bob:
        texts = [
            m.message for m in [await bob.next(timeout=WAIT) for _ in range(2)] if isinstance(m, MentionRoute)
        ]
    assert texts == ["second", "third"]


async def test_a_restarted_platform_on_another_port_is_found_again(platform: Platform) -> None:
    async with arriving(platform, "ada") as ada, arriving(platform, "bob") as bob:
        await ada.remember("1")
        await platform.kill_everything()
        waiting = asyncio.ensure_future(ada.remember("2"))
        await platform.start()
        await asyncio.wait_for(waiting, WAIT)
        assert await heard(bob, 2) == [1, 2]


async def test_a_log_made_anew_is_a_gap(platform: Platform) -> None:
    async with arriving(platform, "ada") as ada:
        await platform.kill_everything()
        shutil.rmtree(platform.data / "nats")
        await platform.start()
        async with asyncio.timeout(WAIT):
            notice = await ada.next()
        assert isinstance(notice, Gap)
        assert (await ada.remember("A new beginning.")).type == "accepted"


async def test_an_expired_token_is_replaced_without_a_word(platform: Platform) -> None:
    key = Home(platform.data).token_key()
    given: list[str] = []

    def short() -> str:
        given.append(f"{len(given)}")
        return sign(draft("ada", now=int(time.time()), lifetime=2, jti=given[-1]), key)

    async with Agent.connect("ada", url=platform.ws, token=short, timeout=WAIT) as ada:
        async with asyncio.timeout(WAIT):
            while len(given) < 3:
                await ada.remember("Still here.")
                await asyncio.sleep(0.1)


async def test_a_second_connection_of_an_agent_is_refused_and_an_observer_is_not(platform: Platform) -> None:
    async with arriving(platform, "ada") as ada:
        with pytest.raises(Forbidden):
            await arriving(platform, "ada")
        async with Agent.connect("ada", data=platform.data, observer=True) as observer:
            with pytest.raises(Refused):
                await observer.remember("I only watch.")
            assert (await observer.ask("ping"))["group"] == "main"
        await ada.remember("Still here.")


async def test_one_question_needs_no_agent(platform: Platform) -> None:
    token = await platform.token("ada")
    assert (await ask_once(platform.ws, token, "status"))["group"] == "main"
    with pytest.raises(NotFound):
        await ask_once(platform.ws, token, "no-such-question")
    with pytest.raises(Forbidden):
        await ask_once(platform.ws, "x" + token, "status")


async def test_presence_reaches_the_group(platform: Platform) -> None:
    async with arriving(platform, "ada") as ada, arriving(platform, "bob") as bob:
        await ada.presence("working", context="main")
        message = await bob.next(timeout=WAIT)
        assert not isinstance(message, Gap)
        assert (message.type, message.sender_agent_id) == ("agent_presence", "ada")


async def test_a_token_file_is_read_again_for_every_connection(platform: Platform, tmp_path: Path) -> None:
    file = tmp_path / "token"
    with pytest.raises(BackchannelError, match="token"):
        await Agent.connect("ada", url=platform.ws, token_file=file)
    file.write_text(await platform.token("ada"))
    async with Agent.connect("ada", url=platform.ws, token_file=file) as ada:
        assert ada.group == "main"
