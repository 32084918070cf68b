"""What is parked or set aside is bounded, and can be given back as it was."""

from __future__ import annotations

from datetime import UTC, datetime

import pydantic_core
import pytest

from backchannel.delivery.loops import Finding
from backchannel.delivery.token import draft
from backchannel.domain.paging import SHORTENED
from backchannel.errors import TooLarge
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.entry import Entry
from backchannel.jetstream.page import page
from backchannel.jetstream.publish import Publisher
from backchannel.jetstream.topology import provision
from backchannel.protocol.catalog import read_message
from backchannel.protocol.json_object import read_object
from backchannel.service.admit import Sender, entries_of
from backchannel.service.quarantine import LARGEST, one, parked, release
from backchannel.service.redeliver import Dead
from tests.build import content

TARGETS = [f"target-{number}" for number in range(30)]
ROUND = Finding(17, "They go round.", ("bob",))


def mention(text: str) -> tuple[Sender, dict[str, object], list[Entry]]:
    sender = Sender(draft("ada", now=0, lifetime=60, jti="1"))
    said = content("mention_route", target_agents=TARGETS, message=text)
    return sender, said, entries_of(sender, said, read_message(said))


async def test_a_mention_of_many_is_parked_once_and_released_to_each(connection: Connection) -> None:
    await provision(connection, ["main"])
    sender, said, entries = mention("é" * 20_000)
    entry = parked(sender, read_message(said), entries, ROUND, datetime.now(UTC))
    assert entry.size < 2 * len(entries[0].payload)
    publisher = Publisher(connection)
    await publisher.store(entry)
    await publisher.close()
    await release(connection, await one(connection, ["main"], str(said["message_id"])))
    stored = (await page(connection, "BC_EVENTS_main", 0, filter="bc.main.evt.inbox.>")).records
    assert [(record.subject, record.payload) for record in stored] == [
        (one.subject, one.payload) for one in entries
    ]


async def test_what_an_older_platform_parked_is_released_as_well(connection: Connection) -> None:
    await provision(connection, ["main"])
    sender, said, entries = mention("hello")
    kept = read_object(parked(sender, read_message(said), entries, ROUND, datetime.now(UTC)).payload)
    kept["entries"] = [
        {"subject": one.subject, "payload": one.payload.decode(), "headers": dict(one.headers)}
        for one in entries
    ]
    del kept["payloads"]
    publisher = Publisher(connection)
    await publisher.store(Entry("bc.main.dead.quarantine", pydantic_core.to_json(kept), {"Nats-Msg-Id": "x"}))
    await publisher.close()
    await release(connection, await one(connection, ["main"], str(said["message_id"])))
    stored = (await page(connection, "BC_EVENTS_main", 0, filter="bc.main.evt.inbox.>")).records
    assert len(stored) == len(TARGETS)


def test_the_most_that_one_message_may_add_fits_where_it_is_parked() -> None:
    sender, said, entries = mention("m" * 135_000)
    assert sum(one.size for one in entries) > 4_000_000
    entry = parked(sender, read_message(said), entries, ROUND, datetime.now(UTC))
    assert entry.size <= LARGEST


def test_what_was_not_kept_whole_is_not_given_again() -> None:
    kept = {"subject": "bc.main.cmd.normal.ada.x", "payload": '{"cut…', SHORTENED: ["payload"]}
    with pytest.raises(TooLarge, match="send it again"):
        Dead(7, "main", kept).once_more()
