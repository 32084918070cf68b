"""Decisions that are stored together stand or fall each by itself, and none before its intent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid5

import pytest

from backchannel.domain.audit import Deed, read_link
from backchannel.domain.decision import Call, Decision, Mark
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.entry import Entry, Fence
from backchannel.jetstream.page import page
from backchannel.jetstream.publish import Publisher
from backchannel.jetstream.read import Record, last
from backchannel.jetstream.topology import provision
from backchannel.protocol.subject import AUDIT, audit_of, events_stream, order_subject
from backchannel.service.commit import Outcome, committed, committed_together
from backchannel.service.follow import FAMILY, Origin, follow_ups
from backchannel.service.house import House

AGENTS = ("ada", "ben", "cy", "dee")


@pytest.fixture
async def house(connection: Connection) -> AsyncIterator[House]:
    await provision(connection, ["main"])
    made = House(connection, ["main"])
    yield made
    await made.trail.close(0.1)
    await made.publisher.close()


def outcome(agent: str, expected: int = 0, *, where: str | None = None, of: str = "") -> Outcome:
    """Two marks, one of them fenced, and an intent."""
    place = where or f"habit.{agent}"
    decision = Decision(
        marks=(Mark(place, {"agent": agent, "of": of}), Mark(f"other.{agent}", {"agent": agent})),
        deeds=(Deed.intent("main", "tool", agent, "granted", {"of": of}, f"request:{agent}{of}"),),
    )
    origin = Origin("main", agent, uuid5(FAMILY, f"{agent}{of}"))
    return Outcome(
        decision, follow_ups(decision, origin), [Fence(order_subject("main", place), expected)], origin.key
    )


async def marked(connection: Connection, what: str) -> Record | None:
    return await last(connection, events_stream("main"), order_subject("main", what))


async def intents(connection: Connection) -> list[str]:
    part = await page(connection, AUDIT, 0, filter=audit_of("main"))
    return [str(read_link(record.payload).fields["of"]) for record in part.records]


async def test_what_has_nothing_in_common_is_stored_as_one(house: House, connection: Connection) -> None:
    assert await committed_together(house, list(map(outcome, AGENTS))) == [True] * 4
    part = await page(connection, events_stream("main"), 0)
    assert len(part.records) == 8
    assert len({(record.headers or {})["Nats-Batch-Id"] for record in part.records}) == 1
    assert sorted(await intents(connection)) == sorted(f"request:{agent}" for agent in AGENTS)


async def test_what_rests_on_old_news_is_void_and_takes_nothing_else_with_it(
    house: House, connection: Connection
) -> None:
    assert await committed(house, outcome("ben", of="before"))
    assert await committed_together(house, list(map(outcome, AGENTS))) == [True, False, True, True]
    found = [await marked(connection, f"other.{agent}") for agent in ("ada", "cy", "dee")]
    assert all(found)
    ben = await marked(connection, "habit.ben")
    assert ben is not None and b"before" in ben.payload


async def test_of_two_that_write_to_one_place_only_the_first_is_stored(
    house: House, connection: Connection
) -> None:
    both = [outcome(agent, where="approval.one") for agent in ("ada", "ben")]
    assert await committed_together(house, both) == [True, False]
    kept = await marked(connection, "approval.one")
    assert kept is not None and b'"ada"' in kept.payload


async def test_what_was_stored_before_in_part_is_not_taken_for_all_of_it(
    house: House, connection: Connection
) -> None:
    """Another process stored some of them, each by itself, and nobody here was told."""
    others = Publisher(connection)
    await others.commit(outcome("ben").told)
    assert await committed_together(house, list(map(outcome, AGENTS))) == [True] * 4
    for agent in AGENTS:
        assert await marked(connection, f"other.{agent}") is not None
    assert len((await page(connection, events_stream("main"), 0)).records) == 8
    await others.close()


async def test_nobody_is_called_on_a_grant_that_another_process_gave_in_our_place(
    house: House, connection: Connection
) -> None:
    """What it stored under the same ids has a grant of its own; ours is in no log."""
    called: asyncio.Queue[bytes] = asyncio.Queue()
    await connection.subscribe("bc.main.tool.read", lambda arrived: called.put_nowait(arrived.payload))
    others = Publisher(connection)
    await others.commit(outcome("ben").told)
    for agent in ("ben", "ada"):
        made = outcome(agent)
        decision = replace(made.decision, calls=(Call("main", "read", {"grant": f"ours for {agent}"}),))
        assert await committed(house, Outcome(decision, made.told, made.fences, made.cause))
    async with asyncio.timeout(60):
        assert await called.get() == b'{"grant":"ours for ada"}'
    await others.close()


async def test_what_a_message_rests_on_is_fenced_though_nothing_is_written_there(house: House) -> None:
    life, talk = "bc.main.evt.ctx.room.*.life", "bc.main.evt.ctx.room.normal.talk"
    begun = await house.publisher.store(Entry("bc.main.evt.ctx.room.normal.life", b"{}", {}))

    def said(agent: str, seen: int, *, firm: bool = True) -> Outcome:
        entry = Entry(talk, b"{}", {"Nats-Msg-Id": agent})
        return Outcome(Decision(), [entry], [Fence(life, seen, firm=firm)], agent)

    assert await committed(house, said("ada", begun.sequence))
    assert await committed_together(house, [said("ben", 0), said("cy", begun.sequence)]) == [False, True]
    assert not await committed(house, said("dee", 0))
    assert await committed(house, said("eve", 0, firm=False))
