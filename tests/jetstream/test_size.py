"""Every stream has a size, which is set where that loses nothing, and kept where somebody chose another."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.errors import BadMessage
from backchannel.jetstream.answer import api
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.entry import MSG_ID, Entry
from backchannel.jetstream.publish import Publisher
from backchannel.jetstream.read import describe
from backchannel.jetstream.size import NO_LIMIT, SMALLEST, Fill, Sizes, halved
from backchannel.jetstream.topology import fills, provision, wanted_streams

MIB = 1 << 20


async def size(connection: Connection, stream: str) -> int:
    return int((await describe(connection, stream)).config["max_bytes"])


async def filled(connection: Connection, stream: str, subject: str, count: int) -> None:
    publisher = Publisher(connection)
    for number in range(count):
        await publisher.store(Entry(subject, b"x" * MIB, {MSG_ID: f"{number}"}))
    await publisher.close()


def test_every_stream_and_bucket_is_shipped_with_a_size() -> None:
    shipped = {wanted["name"]: wanted for wanted in wanted_streams(["main"])}
    assert all(wanted["max_bytes"] >= 64 * MIB for wanted in shipped.values())
    keeps = {name for name, wanted in shipped.items() if wanted["discard"] == "new"}
    assert {"BC_AUDIT", "BC_COMMANDS"} <= keeps, "what was taken and is not done, or is proof, is never shed"


async def test_a_size_may_be_chosen_and_changed(connection: Connection) -> None:
    await provision(connection, ["main"], sizes=Sizes({"BC_EVENTS": 20 * MIB}))
    assert await size(connection, "BC_EVENTS_main") == 20 * MIB
    assert await provision(connection, ["main"]) == []
    assert await size(connection, "BC_EVENTS_main") == 20 * MIB, "who chose it need not say so each time"
    changes = await provision(connection, ["main"], sizes=Sizes({"BC_EVENTS": 30 * MIB}))
    assert changes == ["changed BC_EVENTS_main: max_bytes"]
    assert await size(connection, "BC_EVENTS_main") == 30 * MIB


async def test_a_log_that_is_larger_than_its_size_is_left_whole(log: Connection) -> None:
    config = dict((await describe(log, "BC_EVENTS_main")).config)
    await api(log, "STREAM.UPDATE.BC_EVENTS_main", {**config, "max_bytes": NO_LIMIT})
    await filled(log, "BC_EVENTS_main", "bc.main.evt.ctx.main.normal.talk", 14)
    assert await provision(log, ["main"], sizes=Sizes({"BC_EVENTS": 16 * MIB})) == []
    facts = await describe(log, "BC_EVENTS_main")
    assert (facts.messages, int(facts.config["max_bytes"])) == (14, NO_LIMIT)
    (found,) = [fill for fill in await fills(log, ["main"]) if fill.stream == "BC_EVENTS_main"]
    assert (found.most, found.bytes, found.warning) == (NO_LIMIT, facts.bytes, None)


async def test_a_size_that_the_disk_has_no_room_for_is_halved(connection: Connection) -> None:
    await provision(connection, ["main"], sizes=Sizes({"BC_DEAD": 1 << 52}))
    found = await size(connection, "BC_DEAD")
    assert found == NO_LIMIT or SMALLEST <= found < 1 << 52


@pytest.mark.parametrize("text", ["BC_EVENTS", "BC_EVENTS=1", "BC_EVENTS=-1GiB", "x=1GiB", "BC_EVENTS=1GB"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadMessage, match="BACKCHANNEL_STREAM_BYTES"):
        Sizes.from_environment({"BACKCHANNEL_STREAM_BYTES": text})


def test_sizes_are_read_from_the_environment() -> None:
    found = Sizes.from_environment({"BACKCHANNEL_STREAM_BYTES": "BC_EVENTS=2GiB, KV_BC_agents=16MiB"})
    assert (found.of("BC_EVENTS_other", 1), found.of("KV_BC_agents", 1)) == (2 << 30, 16 * MIB)
    assert found.of("BC_AUDIT", 7) == 7 and Sizes.from_environment({}).chosen == {}


@given(st.integers(SMALLEST, 1 << 60))
def test_halving_ends_without_a_limit(start: int) -> None:
    steps = 0
    while start != NO_LIMIT:
        assert start >= SMALLEST
        start, steps = halved(start), steps + 1
    assert steps <= 60


@given(st.integers(1, 10_000), st.integers(0, 12_000), st.integers(1, 5_000), st.integers(0, 5_000))
def test_a_log_is_shed_from_the_upper_share_down_to_the_lower_one_and_never_to_its_last(
    most: int, held: int, first: int, more: int
) -> None:
    fill, last = Fill("S", held, most), first + more
    cut = fill.cut(first, last)
    assert (cut is None) == (held < 0.85 * most or more == 0)
    if cut is None:
        return
    assert first <= cut < last
    share = (cut - first + 1) / (last - first + 1)
    assert share >= min(1 - 0.75 * most / held, more / (more + 1)) - 1e-9
    assert cut - first + 1 <= math.ceil((more + 1) * (1 - 0.75 * most / held)) + 1


@given(st.integers(1, 10_000), st.integers(0, 12_000))
def test_whoever_runs_the_platform_is_warned_from_four_fifths_on(most: int, held: int) -> None:
    warning = Fill("BC_X", held, most).warning
    assert (warning is not None) == (10 * held >= 8 * most)
    assert warning is None or ("BC_X" in warning and str(most) in warning)
