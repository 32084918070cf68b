"""Streams and buckets become what the files say, again and again, by many at once."""

from __future__ import annotations

import asyncio
import json

import pytest

from backchannel.errors import BackchannelError, Internal
from backchannel.jetstream.answer import api
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.embedded import Server
from backchannel.jetstream.entry import MSG_ID, Entry
from backchannel.jetstream.publish import Publisher
from backchannel.jetstream.read import describe
from backchannel.jetstream.topology import files, provision, wanted_streams

NAMES = {
    "BC_AUDIT",
    "BC_COMMANDS",
    "BC_DEAD",
    "BC_EVENTS_main",
    "KV_BC_agents",
    "KV_BC_native",
    "KV_BC_config",
    "KV_BC_nonces",
    "KV_BC_presence",
    "KV_BC_rights",
    "KV_BC_seats",
    "KV_BC_sessions",
    "KV_BC_sidebars",
    "KV_BC_waits",
}
SECOND = 1_000_000_000


async def test_everything_is_created_once_and_then_left_alone(connection: Connection) -> None:
    assert set(await provision(connection, ["main"])) == {f"created {name}" for name in NAMES}
    assert await provision(connection, ["main"]) == []


async def test_many_may_provision_at_once(nats_server: Server, connection: Connection) -> None:
    changes = await asyncio.gather(*(provision(connection, ["main", "other"]) for _ in range(5)))
    assert {f"created {name}" for name in NAMES} <= {change for part in changes for change in part}
    assert await provision(connection, ["main", "other"]) == []


async def test_a_changed_setting_is_put_right_and_others_are_kept(log: Connection) -> None:
    config = dict((await describe(log, "BC_COMMANDS")).config)
    await api(log, "STREAM.UPDATE.BC_COMMANDS", {**config, "max_age": 3600 * SECOND, "max_bytes": 10_000_000})
    assert await provision(log, ["main"], dry_run=True) == ["changed BC_COMMANDS: max_age"]
    assert await provision(log, ["main"]) == ["changed BC_COMMANDS: max_age"]
    after = (await describe(log, "BC_COMMANDS")).config
    assert (after["max_age"], after["max_bytes"]) == (7 * 86400 * SECOND, 10_000_000)
    assert await provision(log, ["main"]) == []


async def test_a_dry_run_changes_nothing(connection: Connection) -> None:
    assert len(await provision(connection, ["main"], dry_run=True)) == len(NAMES)
    assert len(await provision(connection, ["main"], dry_run=True)) == len(NAMES)


async def test_a_stream_that_cannot_be_changed_is_named(connection: Connection) -> None:
    await api(
        connection,
        "STREAM.CREATE.BC_DEAD",
        {"name": "BC_DEAD", "subjects": ["bc.*.dead.>"], "storage": "memory"},
    )
    with pytest.raises(Internal, match="The stream BC_DEAD cannot be made what its file says"):
        await provision(connection, ["main"])


async def test_the_audit_trail_can_only_grow(log: Connection) -> None:
    publisher = Publisher(log)
    await publisher.store(Entry("bc.main.audit.config.alice", b"{}", {MSG_ID: "1"}))
    for endpoint, body in (
        ("STREAM.MSG.DELETE.BC_AUDIT", {"seq": 1}),
        ("STREAM.PURGE.BC_AUDIT", {}),
    ):
        with pytest.raises(BackchannelError):
            await api(log, endpoint, body)
    with pytest.raises(BackchannelError):
        await publisher.store(Entry("bc.main.audit.config.alice", b"{}", {MSG_ID: "2", "Nats-TTL": "1"}))
    assert (await describe(log, "BC_AUDIT")).messages == 1


async def test_the_stream_of_an_older_audit_trail_is_brought_up_to_date_by_a_steward_alone(
    nats_server: Server, connection: Connection
) -> None:
    (wanted,) = (stream for stream in wanted_streams(["main"]) if stream["name"] == "BC_AUDIT")
    later = ("allow_atomic", "max_msgs", "max_bytes", "max_age", "max_msgs_per_subject")
    older = {name: value for name, value in wanted.items() if name not in later}
    await api(connection, "STREAM.CREATE.BC_AUDIT", older)
    await connection.request("bc.main.audit.config.alice", b"{}")
    with pytest.raises(BackchannelError):
        await api(connection, "STREAM.UPDATE.BC_AUDIT", wanted, timeout=0.3)
    async with await Connection.open(nats_server.address("steward"), name="steward") as steward:
        assert "changed BC_AUDIT: max_bytes, allow_atomic" in await provision(steward, ["main"])
        assert (await describe(steward, "BC_AUDIT")).messages == 1


def test_every_file_holds_what_its_name_says() -> None:
    for path in files():
        name = json.loads(path.read_text("utf-8"))["name"]
        assert name.removeprefix("KV_").removesuffix("_{group}") == path.stem


def test_every_stream_says_how_many_may_read_it() -> None:
    assert all(wanted["max_consumers"] == 100_000 for wanted in wanted_streams(["main"]))


def test_repeats_are_recognised_for_five_minutes_wherever_messages_are_kept() -> None:
    windows = {
        wanted["name"]: wanted["duplicate_window"]
        for wanted in wanted_streams(["main"])
        if not wanted["name"].startswith("KV_")
    }
    assert set(windows.values()) == {300 * SECOND}
