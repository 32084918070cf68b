"""Saved folds: the same state as the whole log gives, and never trusted beyond what they can vouch for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from itertools import count

import pydantic_core
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from backchannel.domain.sidebar import Sidebar
from backchannel.errors import BackchannelError
from backchannel.jetstream.answer import api
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.embedded import Server
from backchannel.jetstream.publish import Entry, Publisher
from backchannel.jetstream.read import describe, read_one
from backchannel.jetstream.topology import provision
from backchannel.protocol.catalog import write
from backchannel.protocol.subject import events_stream
from backchannel.service.lives import Lives
from backchannel.service.snapshot import Snapshots
from tests.build import message
from tests.domain.paper import Paper
from tests.histories import Step, steps
from tests.jetstream.faults import eventually

NEVER = 3600.0
numbers = count(1)


async def written(connection: Connection, group: str, paper: Paper, after: int = 0) -> int:
    """Store what the paper holds behind a position; a life event of the group's log is at its place there."""
    publisher = Publisher(connection)
    for context, event in paper.log[after:]:
        headers = {"Nats-Msg-Id": f"{group}-{next(numbers)}"}
        await publisher.store(Entry(f"bc.{group}.evt.ctx.{context}.normal.life", write(event), headers))
    await publisher.close()
    return len(paper.log)


async def started(connection: Connection, group: str) -> Lives:
    lives = Lives(connection, group, save_every=NEVER)
    await lives.start()
    return lives


async def known_after(connection: Connection, group: str) -> dict[str, Sidebar]:
    """What a process that starts now knows, and saves when it ends."""
    lives = await started(connection, group)
    found = {sidebar.sidebar_id: sidebar for sidebar in lives.all()}
    await lives.stop()
    return found


def folded(paper: Paper) -> dict[str, Sidebar]:
    return {name: sidebar for name in paper.ids() if (sidebar := paper.sidebar(name)) is not None}


def play(paper: Paper, history: Sequence[Step]) -> None:
    for number, step in enumerate(history):
        try:
            paper.ask(step.sender, step.message(sorted(paper.ids()), f"s{len(paper.log)}-{number}"))
        except BackchannelError:
            continue


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[asyncio.Runner, Connection]]:
    """One server for all examples; each has a group of its own."""
    with asyncio.Runner() as runner:
        server = Server(tmp_path_factory.mktemp("nats"))
        runner.run(server.start())
        connection = runner.run(Connection.open(server.address(), name="test"))
        yield runner, connection
        runner.run(connection.close())
        server.kill()
        runner.run(server.wait())


@given(st.lists(st.lists(steps, max_size=15), min_size=2, max_size=4))
@settings(max_examples=40, deadline=None)
def test_a_fold_of_the_log_a_live_view_and_saved_folds_are_the_same(
    workshop: tuple[asyncio.Runner, Connection], parts: list[list[Step]]
) -> None:
    runner, connection = workshop

    async def compare() -> None:
        group = f"g{next(numbers)}"
        await provision(connection, [group])
        paper, at = Paper(), 0
        live = await started(connection, group)
        for part in parts:
            play(paper, part)
            at = await written(connection, group, paper, at)
            from_saved = await known_after(connection, group)
            await live.reach()
            assert from_saved == folded(paper)
            assert {sidebar.sidebar_id: sidebar for sidebar in live.all()} == folded(paper)
        await live.stop()

    runner.run(compare())


@pytest.fixture
async def log(connection: Connection) -> Connection:
    await provision(connection, ["main"])
    return connection


@pytest.fixture
async def paper(log: Connection) -> Paper:
    """Three sidebars with some life in them, saved by a process that has ended."""
    paper = Paper()
    first = paper.spawn("ada", "bob", sidebar_id="first")
    paper.spawn("bob", "ada", sidebar_id="second")
    paper.ask("bob", message("sidebar_child_spawn", parent_sidebar_id=first, child_sidebar_id="third"))
    paper.ask("ada", message("sidebar_test_result", sidebar_id="second"))
    await written(log, "main", paper)
    assert await known_after(log, "main") == folded(paper)
    return paper


async def test_a_start_reads_only_what_the_saved_folds_do_not_hold(log: Connection, paper: Paper) -> None:
    saved = await Bucket(log, "BC_sidebars").entries()
    assert sorted(key for key, _ in saved) == ["main", "main.first", "main.second", "main.third"]
    at = len(paper.log)
    paper.ask("ada", message("sidebar_pause", sidebar_id="first"))
    await written(log, "main", paper, at)
    with capture_logs() as said:
        assert await known_after(log, "main") == folded(paper)
    assert [(line["after"], line["sidebars"]) for line in said if line["event"] == "folds_loaded"] == [
        (at, 3)
    ]


CORRUPT = {
    "garbage": b"\xff not a fold",
    "json that is no fold": b'{"sidebar": 1}',
    "nothing": b"",
}


@pytest.mark.parametrize("payload", CORRUPT.values(), ids=CORRUPT.keys())
@pytest.mark.parametrize("key", ["main", "main.first"])
async def test_a_corrupt_snapshot_is_ignored_and_said(
    log: Connection, paper: Paper, key: str, payload: bytes
) -> None:
    bucket = Bucket(log, "BC_sidebars")
    await bucket.put(key, payload)
    with capture_logs() as said:
        assert await known_after(log, "main") == folded(paper)
    assert any(line["event"] == "snapshots_ignored" for line in said)
    value = await bucket.get(key)
    assert key == "main.first" or (value is not None and value.payload != payload)


FOREIGN = {
    "another log": {"epoch": "00000000"},
    "other rules": {"form": "00000000"},
}


@pytest.mark.parametrize("lie", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("key", ["main", "main.first"])
async def test_a_foreign_snapshot_is_ignored_and_said(
    log: Connection, paper: Paper, key: str, lie: Mapping[str, object]
) -> None:
    await altered(log, key, lie)
    with capture_logs() as said:
        assert await known_after(log, "main") == folded(paper)
    assert any(line["event"] == "snapshots_ignored" for line in said)


async def altered(connection: Connection, key: str, lie: Mapping[str, object]) -> None:
    bucket = Bucket(connection, "BC_sidebars")
    value = await bucket.get(key)
    assert value is not None
    await bucket.put(key, pydantic_core.to_json({**pydantic_core.from_json(value.payload), **lie}))


@pytest.mark.parametrize(
    "lie", [{"mark": "somebody-else"}, {"sequence": 99}, {"sequence": 2}, {"sidebars": 4}]
)
async def test_a_checkpoint_that_does_not_fit_the_log_or_the_folds_vouches_for_nothing(
    log: Connection, paper: Paper, lie: Mapping[str, object]
) -> None:
    await altered(log, "main", lie)
    with capture_logs() as said:
        assert await known_after(log, "main") == folded(paper)
    assert any(line["event"] == "snapshots_ignored" for line in said)


async def test_a_snapshot_under_a_wrong_name_and_one_that_is_gone_are_noticed(
    log: Connection, paper: Paper
) -> None:
    bucket = Bucket(log, "BC_sidebars")
    second = await bucket.get("main.second")
    assert second is not None
    await bucket.put("main.first", second.payload)
    assert await known_after(log, "main") == folded(paper)
    await bucket.delete("main.third")
    assert await known_after(log, "main") == folded(paper)
    assert await bucket.get("main.third") is not None


async def test_a_fold_saved_after_the_checkpoint_is_read_from_the_log_instead(
    log: Connection, paper: Paper
) -> None:
    at = len(paper.log)
    paper.ask("ada", message("sidebar_pause", sidebar_id="first"))
    await written(log, "main", paper, at)
    before = await Bucket(log, "BC_sidebars").get("main")
    assert before is not None
    assert await known_after(log, "main") == folded(paper)
    await Bucket(log, "BC_sidebars").put("main", before.payload)
    assert await known_after(log, "main") == folded(paper)


async def test_an_older_view_never_overwrites_what_a_newer_one_saved(log: Connection, paper: Paper) -> None:
    stream, at, older = events_stream("main"), len(paper.log), folded(paper)
    late, newest = Snapshots(log, "main"), await read_one(log, stream, at)
    assert newest is not None
    paper.ask("ada", message("sidebar_pause", sidebar_id="first"))
    paper.ask("ada", message("sidebar_pause", sidebar_id="second"))
    await written(log, "main", paper, at)
    await known_after(log, "main")
    saved = await Bucket(log, "BC_sidebars").entries()
    await late.save(older, (await describe(log, stream)).epoch, newest, list(older.values()))
    assert await Bucket(log, "BC_sidebars").entries() == saved


async def test_many_that_save_at_once_leave_the_newest(log: Connection, paper: Paper) -> None:
    several = [await started(log, "main") for _ in range(4)]
    for number in range(30):
        at = len(paper.log)
        kind = "sidebar_pause" if number % 2 == 0 else "sidebar_resume"
        paper.ask("ada", message(kind, sidebar_id="first"))
        await written(log, "main", paper, at)
        await asyncio.gather(*(lives.save() for lives in several))
    await asyncio.gather(*(lives.stop() for lives in several))
    with capture_logs() as said:
        assert await known_after(log, "main") == folded(paper)
    assert [line["after"] for line in said if line["event"] == "folds_loaded"] == [len(paper.log)]


async def made_anew(connection: Connection) -> Paper:
    """The log is lost and begins again, with one sidebar of a name that was there before."""
    await api(connection, f"STREAM.DELETE.{events_stream('main')}")
    await provision(connection, ["main"])
    paper = Paper()
    paper.spawn("eve", sidebar_id="second")
    await written(connection, "main", paper)
    return paper


async def test_a_log_made_anew_ignores_the_folds_of_the_old_one(log: Connection, paper: Paper) -> None:
    anew = await made_anew(log)
    with capture_logs() as said:
        assert await known_after(log, "main") == folded(anew)
    assert any(line["event"] == "snapshots_ignored" for line in said)
    assert await known_after(log, "main") == folded(anew)


async def test_a_running_view_of_a_log_made_anew_begins_again(log: Connection, paper: Paper) -> None:
    lives = await started(log, "main")
    anew = await made_anew(log)
    await eventually(lambda: {found.sidebar_id: found for found in lives.all()} == folded(anew))
    at = len(anew.log)
    anew.ask("eve", message("sidebar_pause", sidebar_id="second"))
    await written(log, "main", anew, at)
    await lives.reach()
    assert {found.sidebar_id: found for found in lives.all()} == folded(anew)
    await lives.stop()


async def test_a_view_survives_a_start_while_the_server_has_been_restarted(
    nats_server: Server, log: Connection, paper: Paper
) -> None:
    await nats_server.restart()
    assert await known_after(log, "main") == folded(paper)
