"""Row D9: the curator asks for critical updates that are not acknowledged, then tells others of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from backchannel.domain.curator import ACK, CURATOR
from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.answer import api
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from backchannel.protocol.subject import order_subject, timer_subject, watch_mark
from tests.eventually import eventually
from tests.promises.running import Frame, Platform, Raw
from tests.promises.test_d8_dead_letters import written


async def setting(platform: Platform, name: str, value: bytes) -> None:
    user, password = Home(platform.data).nats_login("operator")
    async with await Connection.open(Address(platform.nats, user, password), name="operator") as connection:
        await Bucket(connection, "BC_config").put(name, value)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def hasty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """A platform whose curator waits for two seconds, with two handlers processes that may be killed."""
    running = await Platform(tmp_path_factory.mktemp("impatient")).start("--handlers", "2")
    await setting(running, "curator.ack_timeout", b"2")
    yield running
    await running.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def impatient(hasty: Platform) -> AsyncIterator[Platform]:
    """The same; what a test leaves connected is closed behind it."""
    yield hasty
    await hasty.part()


@pytest_asyncio.fixture(loop_scope="module")
async def patient(impatient: Platform) -> AsyncIterator[Platform]:
    """One that leaves time for an answer, of which a bridge tells about once a second."""
    await setting(impatient, "curator.ack_timeout", b"5")
    yield impatient
    await setting(impatient, "curator.ack_timeout", b"2")


async def urgent(sender: Raw, *names: str, **fields: str) -> str:
    sent = await sender.send(
        "mention_route", target_agents=list(names), message="now", priority="urgent", **fields
    )
    assert (await sender.answer_to(sent["message_id"]))["type"] == "accepted"
    return str(sent["message_id"])


def names(checkin: Frame) -> list[str]:
    return [one["message_id"] for one in checkin["missing_updates"]]


async def checkins(agent: Raw) -> list[Frame]:
    """All that have come so far; what lay in the log before this call is among them."""
    await agent.settled()
    return agent.events("curator_checkin")


@pytest.mark.asyncio(loop_scope="module")
async def test_unacknowledged_critical_updates_are_asked_for_once_and_together(impatient: Platform) -> None:
    ada = await impatient.agent("ada")
    bob = await impatient.enter(impatient.signed("bob", human_supervisor="sue"))
    sue = await impatient.enter(impatient.signed("sue", entity_type="human"))
    first, second = await urgent(ada, "bob"), await urgent(ada, "bob")
    asked = await bob.until("curator_checkin")
    while second not in names(asked):  # the second may have been too young
        assert names(asked) == [first]
        asked = await bob.until("curator_checkin")
    told: list[str] = []
    while len(told) < 2:  # what was asked for in two questions is told in any order
        checkin = await sue.until("curator_checkin")
        assert checkin["agent_id"] == "bob"
        told += names(checkin)
    assert sorted(told) == sorted([first, second])
    every = [name for checkin in await checkins(bob) for name in names(checkin)]
    assert sorted(every) == sorted([first, second])


async def present(platform: Platform, agents: Sequence[str]) -> None:
    """Leases of connections that nobody has, for a minute."""
    user, password = Home(platform.data).nats_login("operator")
    async with await Connection.open(Address(platform.nats, user, password), name="operator") as connection:
        bucket = Bucket(connection, "BC_presence")
        for agent in agents:
            await bucket.put(f"main.{agent}.x", b'{"permission": "active"}', ttl=60)


async def watched(platform: Platform) -> set[str]:
    """Everybody for whom a timer of the curator runs or has run."""
    user, password = Home(platform.data).nats_login("operator")
    async with await Connection.open(Address(platform.nats, user, password), name="operator") as connection:
        filter = timer_subject("main", CURATOR, ACK, "*")
        wanted = {"subjects_filter": filter}
        told = await api(connection, "STREAM.INFO.BC_EVENTS_main", wanted)
    return {subject.rpartition(".")[2] for subject in told["state"].get("subjects") or {}}


async def test_d9_a_critical_update_for_very_many_is_watched_for_each_of_them(fragile: Platform) -> None:
    await setting(fragile, "curator.ack_timeout", b"3600")
    everybody = {f"crowd-{number:04}" for number in range(600)}
    await present(fragile, sorted(everybody))
    ada = await fragile.agent("ada")
    told = await ada.ask("memory_update", context_id="main", exchange={"content": "!"}, priority="critical")
    assert told["type"] == "accepted"
    found = await eventually(lambda: watched(fragile), lambda found: len(found) >= len(everybody))
    assert found == everybody


@pytest.mark.asyncio(loop_scope="module")
async def test_an_acknowledgement_in_time_cancels_the_question(patient: Platform) -> None:
    ada, cleo, dan = [await patient.agent(name) for name in ("ada", "cleo", "dan")]
    by_cursor, by_name = await urgent(ada, "cleo"), await urgent(ada, "dan")
    got = await cleo.find(lambda frame: frame.get("message_id") == by_cursor)
    await cleo.send_raw({"type": "ack", "cursor": got["cursor"]})
    await dan.find(lambda frame: frame.get("message_id") == by_name)
    await dan.send_raw({"type": "ack", "message_ids": [by_name]})
    eve = await patient.agent("eve")
    late = await urgent(ada, "eve")
    assert names(await eve.until("curator_checkin")) == [late]  # whose time ended after theirs
    assert await checkins(cleo) == [] and await checkins(dan) == []


@pytest.mark.asyncio(loop_scope="module")
async def test_a_deferred_update_is_not_asked_for(patient: Platform) -> None:
    ada, fay, gus = [await patient.agent(name) for name in ("ada", "fay", "gus")]
    sent = await urgent(ada, "fay")
    await fay.find(lambda frame: frame.get("message_id") == sent)
    assert (await fay.result("handled", handles=sent, status="deferred"))["status"] == "success"
    await urgent(ada, "gus")
    await gus.until("curator_checkin")
    assert await checkins(fay) == []


@pytest.mark.asyncio(loop_scope="module")
async def test_a_question_survives_the_death_of_everybody_who_would_ask_it(impatient: Platform) -> None:
    ada, hal = await impatient.agent("ada"), await impatient.agent("hal")
    sent = await urgent(ada, "hal")
    assert impatient.kill("-m handlers") == 2
    asked = await hal.until("curator_checkin")
    assert names(asked) == [sent]
    assert impatient.kill("-m handlers") >= 1
    iris, late = await impatient.agent("iris"), await urgent(ada, "iris")
    assert names(await iris.until("curator_checkin")) == [late]
    assert [names(one) for one in await checkins(hal)] == [[sent]]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_coordinator_is_told_of_what_belongs_to_its_sidebar_alone(impatient: Platform) -> None:
    ada, jan, kim = [await impatient.agent(name) for name in ("ada", "jan", "kim")]
    opened = await kim.result(
        "sidebar_spawn",
        parent_id="main",
        task_description="look",
        participants=["ada", "jan"],
        coordinator="kim",
    )
    sidebar = opened["sidebar_id"]
    await jan.find(lambda frame: frame.get("sidebar_id") == sidebar)
    sent = await ada.send(
        "memory_update", context_id=sidebar, exchange={"content": "it burns"}, priority="critical"
    )
    elsewhere = await urgent(ada, "jan")
    told = await kim.find(lambda frame: frame["type"] == "curator_checkin" and frame.get("agent_id") == "jan")
    assert names(told) == [sent["message_id"]] and elsewhere not in names(told)
    assert "it burns" not in str(told)


@pytest.mark.asyncio(loop_scope="module")
async def test_an_event_whose_follower_fails_is_set_aside_and_followed_after_all(impatient: Platform) -> None:
    ada, lou = await impatient.agent("ada"), await impatient.agent("lou")
    watched = order_subject("main", watch_mark("lou"))
    await written(impatient, watched, {"through": "nonsense"})
    sent = await urgent(ada, "lou")
    rows = await eventually(lambda: impatient.json("dead", "ls"))  # after three attempts
    assert [(row["service"], row["message_id"]) for row in rows] == [("curator", sent)]
    await written(impatient, watched, {})
    code, _, err = await impatient.run("dead", "redeliver", "--all")
    assert code == 0, err
    assert names(await lou.until("curator_checkin")) == [sent]


@pytest.mark.asyncio(loop_scope="function")
async def test_a_restart_loses_no_question(fragile: Platform) -> None:
    await setting(fragile, "curator.ack_timeout", b"5")
    ada, bob = await fragile.agent("ada"), await fragile.agent("bob")
    sent = await urgent(ada, "bob")
    await fragile.part()
    await fragile.kill_everything()
    await fragile.start()
    bob = await fragile.agent("bob")
    assert names(await bob.until("curator_checkin")) == [sent]
