"""The view of all sidebars, on a real log."""

from __future__ import annotations

import asyncio
import contextlib

from backchannel.domain.sidebar import Sidebar
from backchannel.errors import Unavailable
from backchannel.jetstream.answer import api
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.publish import Entry, Publisher
from backchannel.jetstream.topology import provision
from backchannel.protocol.catalog import write
from backchannel.protocol.subject import InContext
from backchannel.service.lives import Lives
from tests.build import message


def born(sidebar_id: str) -> Entry:
    event = message("sidebar_spawn", sidebar_id=sidebar_id, members=["ada"], status="active", by="ada")
    subject = InContext(sidebar_id, "life").subject("main", "normal")
    return Entry(subject, write(event), {"Nats-Msg-Id": f"ada:{event.message_id}"})


async def until(lives: Lives, sidebar_id: str) -> Sidebar:
    async with asyncio.timeout(60):
        while (found := lives.get(sidebar_id)) is None:
            with contextlib.suppress(Unavailable):
                await lives.reach()
        return found


async def test_a_log_made_anew_is_followed_and_the_old_one_forgotten(connection: Connection) -> None:
    await provision(connection, ["main"])
    publisher = Publisher(connection)
    lives = Lives(connection, "main")
    await lives.start()
    await publisher.store(born("before"))
    await until(lives, "before")
    await api(connection, "STREAM.DELETE.BC_EVENTS_main")
    await provision(connection, ["main"])
    await publisher.store(born("after"))
    await until(lives, "after")
    assert lives.get("before") is None
    await lives.stop()
    await publisher.close()


async def test_what_no_rule_can_read_is_passed_over(connection: Connection) -> None:
    await provision(connection, ["main"])
    publisher = Publisher(connection)
    for place, garbage in enumerate((b"", b"{", b"[]", b'{"type":"sidebar_spawn"}', b"\xff")):
        subject = InContext("garbage", "life").subject("main", "normal")
        await publisher.store(Entry(subject, garbage, {"Nats-Msg-Id": f"x:{place}"}))
    await publisher.store(born("good"))
    lives = Lives(connection, "main")
    await lives.start()
    assert [found.sidebar_id for found in lives.all()] == ["good"]
    await lives.stop()
    await publisher.close()
