"""The connection comes back from whatever happens to the server or to the client library, and never lies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from backchannel.errors import BadMessage, Forbidden, TooLarge, Unavailable
from backchannel.jetstream.address import Address
from backchannel.jetstream.connection import Arrived, Connection
from backchannel.jetstream.embedded import Server
from backchannel.jetstream.keeper import Timings
from backchannel.jetstream.wire import Wire
from tests.jetstream.faults import PATIENCE, QUICK, crash, eventually, frozen


@pytest.fixture
async def quick(nats_server: Server) -> AsyncIterator[Connection]:
    """A connection that looks after itself several times a second."""
    async with await Connection.open(nats_server.address(), name="quick", timings=QUICK) as opened:
        yield opened


def wire_of(connection: Connection) -> Wire:
    wire = connection._keeper.wire
    assert wire is not None
    return wire


async def works(connection: Connection) -> None:
    """A request comes back, at last."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await connection.request("$JS.API.INFO", timeout=2.0)
                return
            except Unavailable:
                await asyncio.sleep(0.02)


async def test_a_frozen_server_is_noticed_and_so_is_its_return(
    nats_server: Server, quick: Connection
) -> None:
    told: list[bool] = []
    quick.on_change(told.append)
    with frozen(nats_server):
        await eventually(lambda: not quick.up)
        with pytest.raises(Unavailable, match="cannot be reached"):
            await quick.request("$JS.API.INFO", timeout=0.2)
    await eventually(lambda: quick.up)
    await works(quick)
    assert told[:2] == [False, True]


async def test_a_frozen_server_that_dies_and_comes_back_is_found_again(
    nats_server: Server, quick: Connection
) -> None:
    with frozen(nats_server):
        await eventually(lambda: not quick.up)
        nats_server.kill()
        await nats_server.wait()
        await nats_server.start()
        await eventually(lambda: quick.up)
    await works(quick)


async def test_subscriptions_survive_kill_9_of_the_server(nats_server: Server, quick: Connection) -> None:
    heard: list[bytes] = []
    await quick.subscribe("news.>", lambda message: heard.append(message.payload))
    for round_number in range(3):
        await crash(nats_server)
        await eventually(lambda: quick.up)
        await quick.send("news.today", b"%d" % round_number)
        await eventually(lambda: len(heard) > round_number)  # noqa: B023
    assert heard == [b"0", b"1", b"2"]


async def test_a_dead_read_loop_is_noticed_and_replaced(quick: Connection) -> None:
    heard: list[bytes] = []
    await quick.subscribe("news", lambda message: heard.append(message.payload))
    first = wire_of(quick)
    assert first._reading_task is not None
    first._reading_task.cancel()
    await eventually(lambda: wire_of(quick) is not first and quick.up)
    await quick.send("news", b"again")
    await eventually(lambda: heard == [b"again"])


async def test_a_client_that_closed_for_good_is_replaced(quick: Connection) -> None:
    first = wire_of(quick)
    first.write(b"NONSENSE\r\n")  # the server answers -ERR and nats-py closes for good
    await eventually(lambda: wire_of(quick) is not first and quick.up)
    await works(quick)


async def test_a_cut_socket_is_replaced(quick: Connection) -> None:
    wire_of(quick).abort()
    await eventually(lambda: not quick.up)
    await eventually(lambda: quick.up)
    await works(quick)


async def test_a_late_pong_does_not_end_the_reading(nats_server: Server, quick: Connection) -> None:
    wire = wire_of(quick)
    waiting: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    await wire._send_ping(waiting)
    waiting.cancel()
    await works(quick)
    assert wire_of(quick) is wire


async def test_a_server_that_says_goodbye_is_left_at_once(nats_server: Server, quick: Connection) -> None:
    first = wire_of(quick)
    reconnects = first.stats["reconnects"]
    assert nats_server.pid is not None
    os.kill(nats_server.pid, signal.SIGUSR2)  # lame duck
    await eventually(lambda: not quick.up)
    nats_server.kill()
    await nats_server.wait()
    await nats_server.start()
    await works(quick)
    assert wire_of(quick) is not first or first.stats["reconnects"] > reconnects


async def test_a_request_under_way_fails_as_soon_as_the_connection_is_lost(
    nats_server: Server, quick: Connection
) -> None:
    await quick.subscribe("deaf", lambda message: None)
    asking = asyncio.ensure_future(quick.request("deaf", timeout=PATIENCE * 10))
    await quick.request("$JS.API.INFO")
    nats_server.kill()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(Unavailable, match="lost while a reply was awaited"):
            await asking


async def test_a_request_waits_for_a_connection_that_is_coming_back(
    nats_server: Server, quick: Connection
) -> None:
    nats_server.kill()
    await nats_server.wait()
    await eventually(lambda: not quick.up)
    asking = asyncio.ensure_future(quick.request("$JS.API.INFO", timeout=PATIENCE))
    await nats_server.start()
    assert (await asking).payload


async def test_an_attempt_to_come_back_that_fails_leaves_no_socket_behind(nats_server: Server) -> None:
    attempts: list[asyncio.StreamWriter] = []

    async def answers_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attempts.append(writer)
        writer.write(b'INFO {"server_id":"x","version":"2.11.0","max_payload":1048576,"headers":true}\r\n')
        with contextlib.suppress(ConnectionError):
            while await reader.read(1 << 16):
                pass
        writer.close()

    timings = Timings(pulse=0.1, patience=0.5, connect=0.1, retry=0.05)
    async with await Connection.open(nats_server.address(), name="test", timings=timings) as opened:
        nats_server.kill()
        await nats_server.wait()
        async with await asyncio.start_server(answers_nothing, "127.0.0.1", nats_server.port):
            await eventually(lambda: len(attempts) >= 6)
            open_now = [one for one in attempts if not one.is_closing()]
            assert len(open_now) <= 2, "the one before is closed when the next one begins"
            await opened.close()
            await eventually(lambda: all(one.is_closing() for one in attempts))


async def test_nobody_listening_is_told_at_once(connection: Connection) -> None:
    with pytest.raises(Unavailable, match=r"Nobody listens on nobody\.there"):
        await connection.request("nobody.there", timeout=PATIENCE)


async def test_a_wrong_password_is_refused_in_one_sentence(nats_server: Server) -> None:
    address = Address(nats_server.url, "platform", "wrong-Password")
    with pytest.raises(Forbidden, match="refuses the user platform: give the user and password") as refusal:
        await Connection.open(address, name="test", wait=PATIENCE)
    assert "wrong-Password" not in refusal.value.message
    assert "wrong-Password" not in repr(address)


async def test_a_server_that_is_not_there_is_told_within_the_wait() -> None:
    address = Address("nats://me:pass-Word@127.0.0.1:1")
    with pytest.raises(Unavailable, match=r"nats://127\.0\.0\.1:1 cannot be reached") as refusal:
        await Connection.open(address, name="test", wait=0.3)
    assert "pass-Word" not in refusal.value.message


async def test_opening_waits_for_a_server_that_comes_late(nats_server: Server) -> None:
    nats_server.kill()
    await nats_server.wait()
    opening = asyncio.ensure_future(Connection.open(nats_server.address(), name="test", wait=None))
    await asyncio.sleep(0)
    await nats_server.start()
    async with asyncio.timeout(PATIENCE), await opening as opened:
        assert opened.up


async def test_closing_a_connection_to_a_frozen_server_ends(nats_server: Server) -> None:
    opened = await Connection.open(nats_server.address(), name="test", timings=QUICK)
    with frozen(nats_server):
        opened._keeper.wire.write(b"PUB a 0\r\n\r\n" * 1_000_000)  # type: ignore[union-attr]
        async with asyncio.timeout(PATIENCE):
            await opened.close()
    assert not opened.up


async def test_a_socket_that_ended_with_its_last_byte_can_still_be_cut() -> None:
    ended = asyncio.Event()

    async def reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            pass
        writer.close()
        await writer.wait_closed()
        ended.set()

    async with await asyncio.start_server(reads, "127.0.0.1", 0) as server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        wire = Wire()
        wire._transport = SimpleNamespace(_io_writer=writer)  # type: ignore[assignment]
        writer.write(bytes(16 << 20))  # more than leaves at once
        writer.close()
        await writer.wait_closed()
        wire.abort()
        await asyncio.wait_for(ended.wait(), PATIENCE)


async def test_what_fails_in_a_receiver_stops_nothing(connection: Connection) -> None:
    heard: list[str] = []

    def hear(message: Arrived) -> None:
        heard.append(message.subject)
        raise RuntimeError("a mistake in a receiver")

    await connection.subscribe("a.*", hear)
    for number in range(3):
        await connection.send(f"a.{number}", b"")
    await eventually(lambda: heard == ["a.0", "a.1", "a.2"])


async def test_messages_of_all_sizes_arrive_whole_and_in_order(connection: Connection) -> None:
    heard: list[Arrived] = []
    await connection.subscribe("sizes", heard.append)
    payloads = [bytes([size % 251]) * size for size in (0, 1, 31, 4096, 70_000, 0, 1_500_000, 2, 300_000)]
    for payload in payloads:
        await connection.send("sizes", payload, headers={"Size": str(len(payload)), "Name": "Zoë\r\nX: y"})
        await connection.send("sizes", payload)
    await eventually(lambda: len(heard) == 2 * len(payloads))
    assert [message.payload for message in heard] == [payload for payload in payloads for _ in "ab"]
    assert heard[4].headers == {"Size": "31", "Name": "Zoë  X: y"}
    assert heard[5].headers is None


async def test_a_queue_shares_what_comes(nats_server: Server, connection: Connection) -> None:
    heard: list[str] = []
    async with await Connection.open(nats_server.address(), name="other") as other:
        await connection.subscribe("work", lambda _: heard.append("one"), queue="q")
        await other.subscribe("work", lambda _: heard.append("two"), queue="q")
        for _ in range(100):
            await connection.send("work", b"")
        await eventually(lambda: len(heard) == 100)
    assert {"one", "two"} == set(heard)


async def test_a_closed_subscription_hears_nothing_more(connection: Connection) -> None:
    heard: list[bytes] = []
    subscription = await connection.subscribe("a", lambda message: heard.append(message.payload))
    await connection.send("a", b"1")
    await eventually(lambda: heard == [b"1"])
    subscription.close()
    await connection.send("a", b"2")
    await connection.request("$JS.API.INFO")
    assert heard == [b"1"]


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB b 0", "a..b", ".a", "a."])
async def test_a_subject_cannot_carry_protocol(connection: Connection, subject: str) -> None:
    with pytest.raises(BadMessage):
        await connection.send(subject, b"")


async def test_too_large_a_message_is_refused_here_and_not_by_the_server(connection: Connection) -> None:
    with pytest.raises(TooLarge, match="the NATS server takes"):
        await connection.send("a", bytes(3_000_000))
    assert connection.up


async def test_a_server_that_takes_nothing_does_not_fill_our_memory(nats_server: Server) -> None:
    patient = Timings(pulse=60.0, patience=60.0)
    async with await Connection.open(nats_server.address(), name="test", timings=patient) as opened:
        with frozen(nats_server):
            with pytest.raises(Unavailable, match="does not take what is sent"):
                for _ in range(200):
                    await opened.send("a", bytes(1_000_000))
            wire_of(opened).abort()


async def test_what_was_sent_before_closing_still_arrives(
    nats_server: Server, connection: Connection
) -> None:
    heard: list[Arrived] = []
    await connection.subscribe("last.words", heard.append)
    async with await Connection.open(nats_server.address(), name="brief") as brief:
        for _ in range(100):
            await brief.send("last.words", bytes(10_000))
    await eventually(lambda: len(heard) == 100)


async def test_an_opening_ends_at_whatever_moment_it_is_given_up(nats_server: Server) -> None:
    """nats-py loses a cancellation that comes while it connects; its end was waited for in vain."""
    clock = asyncio.get_running_loop().time
    for number in range(200):
        opening = asyncio.ensure_future(Connection.open(nats_server.address(), name="given up"))
        until = clock() + number * 0.00001
        while clock() < until:  # noqa: ASYNC110  # step by step: at every point of a connect
            await asyncio.sleep(0)
        opening.cancel()
        ended, _ = await asyncio.wait([opening], timeout=30)
        assert ended, f"it goes on although it was given up after {number * 10} µs"
        if not opening.cancelled():
            await opening.result().close()
