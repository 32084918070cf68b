"""The SDK through a whole platform: what it offers, for real."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from backchannel.client import (
    Agent,
    Gap,
    MemoryUpdate,
    MentionRoute,
    SidebarClosed,
    SidebarMerge,
    SidebarMessage,
    SidebarSpawn,
    ask_once,
    compose,
)
from backchannel.delivery.token import draft, sign
from backchannel.errors import BackchannelError, Forbidden, IllegalTransition, NotFound, Refused, UnknownAgent
from backchannel.home import Home
from tests.client.whole import WAIT, Place, heard
from tests.promises.running import Platform

pytestmark = pytest.mark.asyncio(loop_scope="module")
GROUPS = [f"group{number}" for number in range(20)]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    running = await Platform(tmp_path_factory.mktemp("platform")).start("--groups", ",".join(GROUPS))
    yield running
    await running.stop()


@pytest.fixture(scope="module")
def groups() -> Iterator[str]:
    return iter(GROUPS)


@pytest.fixture
def place(platform: Platform, groups: Iterator[str]) -> Place:
    return Place(platform, next(groups))


async def test_an_agent_on_this_machine_needs_no_token(place: Place) -> None:
    async with place.agent("ada") as ada, place.agent("bob") as bob:
        await ada.remember("1", topic="tls")
        assert await heard(bob, 1) == [1]
        assert {found["agent_id"] for found in (await bob.ask("agents"))["agents"]} == {"ada", "bob"}


async def test_a_mention_waits_for_an_agent_that_is_away(place: Place) -> None:
    await place.token("bob")
    async with place.agent("ada") as ada:
        await ada.mention("bob", "Look at this.", urgent=True)
        with pytest.raises(UnknownAgent):
            await ada.mention("nobody", "Hello?")
    async with place.agent("bob") as bob:
        message = await bob.next(timeout=WAIT)
        assert isinstance(message, MentionRoute)
        assert message.message == "Look at this."


async def test_two_agents_share_a_sidebar_from_its_opening_to_its_end(place: Place) -> None:
    async with place.agent("ada") as ada, place.agent("bob") as bob:
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


async def test_a_merge_reaches_main_and_the_closing_its_participants(place: Place) -> None:
    async with place.agent("ada") as ada, place.agent("bob") as bob:
        room = await ada.sidebar("Find out.", with_=["bob"])
        await room.merge({"address": "203.0.113.77"}, success=True)
        got = [await bob.next(timeout=WAIT) for _ in range(3)]
    assert {type(message) for message in got} == {SidebarSpawn, SidebarMerge, SidebarClosed}


async def test_a_sidebar_whose_block_raises_has_failed(place: Place) -> None:
    async with place.agent("ada") as ada:
        with pytest.raises(ZeroDivisionError):
            async with ada.sidebar("Divide.") as room:
                raise ZeroDivisionError("by nothing")
        found = (await ada.ask("sidebar", sidebar_id=room.id))["sidebar"]
        assert found["status"] == "failed"
        with pytest.raises(IllegalTransition):
            await room.merge("Too late.")


async def test_refusals_are_raised_as_what_they_are(place: Place) -> None:
    async with place.agent("ada") as ada, place.agent("bob") as bob:
        room = await ada.sidebar("Alone.")
        with pytest.raises(Forbidden):
            await bob.open_sidebar(room.id).say("May I?")
        with pytest.raises(Forbidden):
            await bob.join(room.id)
        with pytest.raises(Forbidden):  # as for one that is not hers to look at
            await ada.open_sidebar("no-such").merge("?")
        with pytest.raises(UnknownAgent):
            await room.invite("nobody")
        await room.invite("bob")
        assert (await bob.open_sidebar(room.id).say("Here.")).type == "accepted"


async def test_a_message_sent_twice_is_stored_once(place: Place) -> None:
    async with place.agent("ada") as ada:
        message = compose(MemoryUpdate, context_id="main", exchange={"content": "Once."})
        assert (await ada.send(message)).type == "accepted"
        assert (await ada.send(message)).type == "duplicate_ack"
        assert len([exchange async for exchange in ada.context()]) == 1


async def test_an_unfinished_message_comes_again_and_a_finished_one_does_not(place: Place) -> None:
    async with place.agent("bob"):
        pass
    async with place.agent("ada") as ada:
        for text in ("first", "second", "third"):
            await ada.mention("bob", text)
    with pytest.raises(ZeroDivisionError):
        async with place.agent("bob") as bob:
            async for message in bob.inbox():
                if isinstance(message, MentionRoute) and message.message == "second":
                    raise ZeroDivisionError
    async with place.agent("bob") as bob:
        texts = [
            m.message for m in [await bob.next(timeout=WAIT) for _ in range(2)] if isinstance(m, MentionRoute)
        ]
    assert texts == ["second", "third"]


async def test_an_expired_token_is_replaced_without_a_word(place: Place) -> None:
    key = Home(place.data).token_key()
    given: list[str] = []

    def short() -> str:
        given.append(f"{len(given)}")
        return sign(
            draft(
                "ada",
                now=int(time.time()),
                lifetime=3,
                jti=given[-1],
                fields={"collaboration_group": place.group},
            ),
            key,
        )

    async with Agent.connect("ada", url=place.platform.ws, token=short, timeout=WAIT) as ada:
        async with asyncio.timeout(WAIT):
            while len(given) < 3:
                await ada.remember("Still here.")
                await asyncio.sleep(0.1)


async def test_a_second_connection_of_an_agent_is_refused_and_an_observer_is_not(place: Place) -> None:
    async with place.agent("ada") as ada:
        with pytest.raises(Forbidden):
            await place.agent("ada")
        async with place.agent("ada", observer=True) as observer:
            with pytest.raises(Refused):
                await observer.remember("I only watch.")
            assert (await observer.ask("ping"))["group"] == place.group
        await ada.remember("Still here.")


async def test_one_question_needs_no_agent(place: Place) -> None:
    token = await place.token("ada")
    assert (await ask_once(place.platform.ws, token, "status"))["group"] == place.group
    with pytest.raises(NotFound):
        await ask_once(place.platform.ws, token, "no-such-question")
    with pytest.raises(Forbidden):
        await ask_once(place.platform.ws, "x" + token, "status")


async def test_presence_reaches_the_group(place: Place) -> None:
    async with place.agent("ada") as ada, place.agent("bob") as bob:
        await ada.presence("working", context="main")
        message = await bob.next(timeout=WAIT)
        assert not isinstance(message, Gap)
        assert (message.type, message.sender_agent_id) == ("agent_presence", "ada")


async def test_a_token_file_is_read_again_for_every_connection(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "token"
    with pytest.raises(BackchannelError, match="token"):
        await Agent.connect("ada", url=place.platform.ws, token_file=file)
    file.write_text(await place.token("ada"))
    async with Agent.connect("ada", url=place.platform.ws, token_file=file) as ada:
        assert ada.group == place.group
