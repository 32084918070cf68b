"""What a log begins with."""

from __future__ import annotations

from backchannel.jetstream.connection import Connection
from backchannel.jetstream.publish import Entry, Publisher
from backchannel.jetstream.read import describe
from backchannel.protocol.subject import events_stream, timer_subject
from cli.furnish import furnish


async def test_a_log_does_not_lose_its_beginning_when_timers_leave_it(connection: Connection) -> None:
    await furnish(connection, ["main"])
    await furnish(connection, ["main"])
    publisher = Publisher(connection)
    place = timer_subject("main", "test", "alarm", "one")
    await publisher.store(Entry(place, b"", {"Nats-Msg-Id": "first"}))
    await publisher.store(Entry(place, b"", {"Nats-Msg-Id": "second", "Nats-Rollup": "sub"}))
    facts = await describe(connection, events_stream("main"))
    assert (facts.first, facts.last, facts.messages) == (1, 3, 2)
    await publisher.close()
