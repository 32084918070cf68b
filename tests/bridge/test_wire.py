"""What a WebSocket promises its owner, and what it does with clients that break the rules."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import struct
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.frames import CLOSE, CONT, PING, PONG, TEXT, Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from bridge.config import Config
from bridge.crowd import Crowd
from bridge.metrics import Metrics
from bridge.room import Room
from bridge.wire import Wire
from tests.bridge.conftest import PATIENCE, Opener, Running, Witness, hang_up, read_all
from tests.bridge.house.client import eventually


def sent(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    """A frame as a client sends it."""
    return Frame(opcode, data, fin).serialize(mask=True)


def close_code(stream: bytes) -> int:
    """The code of the close frame at the end of what a server sent."""
    at = stream.rindex(b"\x88")
    return int(struct.unpack("!H", stream[at + 2 : at + 4])[0])


def echo(peer: Witness) -> None:
    peer.on_message = peer.wire.send


async def answer_to(bridge: Running, *frames: bytes) -> bytes:
    """Everything the bridge says to these frames, until it closes."""
    reader, writer = await bridge.upgrade()
    writer.write(b"".join(frames))
    try:
        return await read_all(reader)
    finally:
        await hang_up(writer)


async def test_messages_come_in_order_and_answers_go_out_in_order(bridge: Running) -> None:
    bridge.hotel.on_admit = echo
    async with bridge.client() as client:
        for number in range(500):
            await client.send(f"message {number}")
        answers = [await asyncio.wait_for(client.recv(), PATIENCE) for _ in range(500)]
    assert answers == [f"message {number}" for number in range(500)]
    peer = await bridge.hotel.guest()
    assert await peer.gone() == 1000
    assert len(peer.messages) == 500
    assert peer.codes == [1000]


async def test_frames_of_one_turn_leave_in_one_write(bridge: Running) -> None:
    async with bridge.client() as client:
        peer = await bridge.hotel.guest()
        for number in range(10):
            peer.wire.send(str(number).encode())
        assert peer.wire.waiting == 30
        assert [await asyncio.wait_for(client.recv(), PATIENCE) for _ in range(10)] == list("0123456789")
        assert peer.wire.waiting == 0


async def test_a_message_in_many_fragments_arrives_whole(bridge: Running) -> None:
    bridge.hotel.on_admit = echo
    async with bridge.client() as client:
        await client.send(["one ", "", "mess", "age 🎈"])
        assert await asyncio.wait_for(client.recv(), PATIENCE) == "one message 🎈"


async def test_a_character_may_be_split_between_fragments(bridge: Running) -> None:
    whole = "🎈".encode()
    answer = await answer_to(
        bridge, sent(TEXT, whole[:2], fin=False), sent(CONT, whole[2:]), sent(CLOSE, struct.pack("!H", 1000))
    )
    assert close_code(answer) == 1000
    assert (await bridge.hotel.guest()).messages == [whole]


async def test_a_ping_between_fragments_is_answered_and_disturbs_nothing(bridge: Running) -> None:
    answer = await answer_to(
        bridge, sent(TEXT, b"a", fin=False), sent(PING, b"are you there"), sent(CONT, b"b"), sent(CLOSE, b"")
    )
    assert Frame(PONG, b"are you there").serialize(mask=False) in answer
    peer = await bridge.hotel.guest()
    assert peer.messages == [b"ab"]
    assert await peer.gone() == 1005


async def test_two_megabytes_are_refused_with_1009_and_the_platform_goes_on(bridge: Running) -> None:
    async with bridge.client() as client:
        with pytest.raises(ConnectionClosedError) as closed:
            await client.send("x" * 2_000_000)
            told = json.loads(await asyncio.wait_for(client.recv(), PATIENCE))
            assert (told["type"], told["code"]) == ("error", "too_large")
            await asyncio.wait_for(client.recv(), PATIENCE)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
    assert await (await bridge.hotel.guest()).gone() == 1009
    async with bridge.client():
        await bridge.hotel.guest(1)


async def test_fragments_that_add_up_to_too_much_are_refused_with_1009(bridge: Running) -> None:
    piece = b"x" * 900_000
    answer = await answer_to(bridge, sent(TEXT, piece, fin=False), sent(CONT, piece, fin=False))
    assert close_code(answer) == 1009
    assert (await bridge.hotel.guest()).messages == []


async def test_a_message_of_exactly_the_limit_is_taken(opened: Opener) -> None:
    bridge = await opened(max_message_bytes=1000)
    async with bridge.client() as client:
        await client.send("x" * 1000)
        await (await bridge.hotel.guest()).until(lambda peer: bool(peer.messages))


async def test_a_message_may_come_in_many_pieces_and_empty_ones_but_not_in_any_number(
    bridge: Running,
) -> None:
    few = sent(TEXT, b"", fin=False) + sent(CONT, b"", fin=False) * 2_000 + sent(CONT, b"end")
    endless = sent(TEXT, b"", fin=False) + sent(CONT, b"", fin=False) * 50_000 + sent(CONT, b"never")
    assert close_code(await answer_to(bridge, few, endless)) == 4429
    peer = await bridge.hotel.guest()
    assert await peer.gone() == 4429
    assert peer.messages == [b"end"]


async def test_a_binary_message_is_told_apart_whole_or_in_fragments(bridge: Running) -> None:
    bridge.hotel.on_admit = echo
    async with bridge.client() as client:
        await client.send(b"\x00\x01")
        await client.send([b"\x00", b"\x01"])
        await client.send("still here")
        assert await asyncio.wait_for(client.recv(), PATIENCE) == "still here"
    peer = await bridge.hotel.guest()
    assert (peer.binary_messages, peer.messages) == (2, [b"still here"])


@pytest.mark.parametrize("body", [b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"abc\xf0\x9f"])
async def test_text_that_is_not_utf8_is_refused_with_1007(bridge: Running, body: bytes) -> None:
    assert close_code(await answer_to(bridge, sent(TEXT, body))) == 1007
    peer = await bridge.hotel.guest()
    assert await peer.gone() == 1007
    assert peer.messages == []


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(Frame(TEXT, b"abc").serialize(mask=False), id="unmasked"),
        pytest.param(b"\xc1\x80\x00\x00\x00\x00", id="reserved bit"),
        pytest.param(b"\x83\x80\x00\x00\x00\x00", id="unknown opcode"),
        pytest.param(b"\x09\x80\x00\x00\x00\x00", id="fragmented ping"),
        pytest.param(b"\x89\xfe\x00\x7e\x00\x00\x00\x00" + b"x" * 126, id="long ping"),
        pytest.param(sent(CONT, b"abc"), id="continuation of nothing"),
        pytest.param(sent(TEXT, b"a", fin=False) + sent(TEXT, b"b"), id="message within a message"),
        pytest.param(sent(CLOSE, b"\x03"), id="close with half a code"),
        pytest.param(sent(CLOSE, struct.pack("!H", 1006)), id="close with a code nobody may send"),
    ],
)
async def test_a_broken_frame_ends_the_connection_with_1002(bridge: Running, stream: bytes) -> None:
    assert close_code(await answer_to(bridge, stream)) == 1002
    assert (await bridge.hotel.guest()).messages == []


async def test_what_came_before_a_broken_frame_still_counts(bridge: Running) -> None:
    assert close_code(await answer_to(bridge, sent(TEXT, b"good") + b"\xff\xff")) == 1002
    assert (await bridge.hotel.guest()).messages == [b"good"]


@given(garbage=st.binary(min_size=1, max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_bytes_at_all_break_the_wire(garbage: bytes) -> None:
    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        config, metrics = Config(), Metrics()
        peers: list[Witness] = []

        def admit(wire: Wire) -> Witness:
            peers.append(Witness(wire))
            return peers[0]

        room = Room(config, metrics, admit)
        ticket = Crowd(config, metrics).enter("127.0.0.1")
        assert ticket is not None
        protocol = ServerProtocol(state=OPEN)
        transport, _ = await room.loop.create_connection(asyncio.Protocol, sock=ours)
        Wire(room, transport, protocol, ticket, "127.0.0.1", None).begin(garbage)
        theirs.close()
        assert await peers[0].gone() >= 1000

    asyncio.run(scenario())


async def test_the_close_code_and_reason_reach_the_client(bridge: Running) -> None:
    async with bridge.client() as client:
        peer = await bridge.hotel.guest()
        peer.wire.send(b"last words")
        peer.wire.close(4409, "ä" * 100)
        peer.wire.close(4400, "too late")
        peer.wire.send(b"nobody hears this")
        assert await asyncio.wait_for(client.recv(), PATIENCE) == "last words"
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(client.recv(), PATIENCE)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4409, "ä" * 61)
    assert await peer.gone() == 4409


async def test_a_client_that_ignores_the_close_is_dropped(opened: Opener) -> None:
    bridge = await opened(close_seconds=0.1)
    reader, writer = await bridge.upgrade()
    peer = await bridge.hotel.guest()
    peer.wire.close(4408, "bye")
    assert close_code(await read_all(reader)) == 4408
    assert await peer.gone() == 4408
    await hang_up(writer)


async def test_a_client_that_vanishes_is_lost_with_1006(bridge: Running) -> None:
    _, writer = await bridge.upgrade()
    peer = await bridge.hotel.guest()
    writer.transport.abort()
    assert await peer.gone() == 1006
    assert bridge.port.crowd.wires == 0


async def test_a_client_that_closes_its_half_without_a_word_is_lost_with_1006(bridge: Running) -> None:
    _, writer = await bridge.upgrade()
    writer.write_eof()
    assert await (await bridge.hotel.guest()).gone() == 1006
    await hang_up(writer)


async def test_an_abort_says_its_code_to_the_owner(bridge: Running) -> None:
    async with bridge.client() as client:
        peer = await bridge.hotel.guest()
        peer.wire.abort(4008)
        assert await peer.gone() == 4008
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(client.recv(), PATIENCE)
    assert peer.codes == [4008]


async def test_a_stalled_reader_is_noticed_and_noticed_again_when_it_reads(bridge: Running) -> None:
    reader, writer = await bridge.upgrade()
    peer = await bridge.hotel.guest()
    body, count = b"x" * 65_536, 0
    while not peer.wire.paused:
        peer.wire.send(body)
        count += 1
        await asyncio.sleep(0)
        assert count < 1000, "the kernel takes more than its bounded buffer should"
    assert peer.wire.waiting > 0
    async with asyncio.timeout(PATIENCE):
        while peer.writable_again == 0:
            await reader.read(1 << 20)
    assert not peer.wire.paused
    await hang_up(writer)


async def test_the_kernel_keeps_little_for_a_stalled_reader(opened: Opener) -> None:
    bridge = await opened(send_buffer=65_536)
    _, writer = await bridge.upgrade()
    wire = (await bridge.hotel.guest()).wire
    sock = wire._transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * 65_536
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    await hang_up(writer)


async def test_a_reader_that_lets_everything_pile_up_is_dropped_with_4008(opened: Opener) -> None:
    bridge = await opened(overflow=1_000_000)
    _, writer = await bridge.upgrade()
    peer = await bridge.hotel.guest()
    while not peer.codes:
        peer.wire.send(b"x" * 65_536)
        await asyncio.sleep(0)
    assert peer.codes == [4008]
    await hang_up(writer)


async def test_pings_of_a_client_that_never_reads_do_not_pile_up(opened: Opener) -> None:
    bridge = await opened(high_water=4096)
    reader, writer = await bridge.upgrade()
    peer = await bridge.hotel.guest()
    while not peer.wire.paused:
        peer.wire.send(b"x" * 65_536)
        await asyncio.sleep(0)
    before = peer.wire.waiting
    writer.write(b"".join(sent(PING, b"%d" % number) for number in range(5000)) + sent(TEXT, b"done"))
    await peer.until(lambda one: bool(one.messages))
    assert peer.wire.waiting <= before  # the kernel may have taken a little more
    latest = Frame(PONG, b"4999").serialize(mask=False)
    seen = b""
    async with asyncio.timeout(PATIENCE):
        while latest not in seen:
            seen = (seen + await reader.read(1 << 20))[-(1 << 21) :]
    await hang_up(writer)


async def test_nothing_is_taken_while_the_owner_does_not_read_and_nothing_is_lost(bridge: Running) -> None:
    def stop_after_three(peer: Witness) -> None:
        peer.on_message = lambda body: peer.wire.pause_reading() if len(peer.messages) % 3 == 0 else None

    bridge.hotel.on_admit = stop_after_three
    _, writer = await bridge.upgrade()
    writer.write(b"".join(sent(TEXT, b"%d" % number) for number in range(10)))
    peer = await bridge.hotel.guest()
    for expected in (3, 6, 9):
        await peer.until(lambda one, expected=expected: len(one.messages) >= expected)
        await asyncio.sleep(0.01)
        assert len(peer.messages) == expected
        writer.write(sent(TEXT, b"more"))
        peer.wire.resume_reading()
    peer.on_message = lambda body: None
    peer.wire.resume_reading()
    await peer.until(lambda one: len(one.messages) == 13)
    assert peer.messages == [b"%d" % number for number in range(10)] + [b"more"] * 3
    await hang_up(writer)


async def test_closing_works_although_the_owner_does_not_read(bridge: Running) -> None:
    async with bridge.client() as client:
        peer = await bridge.hotel.guest()
        peer.wire.pause_reading()
        await client.send("never read")
        peer.wire.close(1013, "overloaded")
        await asyncio.wait_for(client.wait_closed(), PATIENCE)
    assert client.close_code == 1013
    assert await peer.gone() == 1013
    assert peer.messages == []


async def test_a_ping_measures_the_way_there_and_back(bridge: Running) -> None:
    async with bridge.client():
        peer = await bridge.hotel.guest()
        peer.wire.ping()
        await peer.until(lambda one: bool(one.round_trips))
        assert 0 <= peer.round_trips[0] < PATIENCE


async def test_a_pong_nobody_asked_for_means_nothing(bridge: Running) -> None:
    _, writer = await bridge.upgrade()
    peer = await bridge.hotel.guest()
    peer.wire.ping()
    writer.write(sent(PONG, b"") + sent(PONG, b"\0\0\0\2") + sent(TEXT, b"done"))
    await peer.until(lambda one: bool(one.messages))
    assert peer.round_trips == []
    await hang_up(writer)


async def test_a_client_that_answers_pings_stays(opened: Opener) -> None:
    bridge = await opened(heartbeat_seconds=0.02)
    async with bridge.client():
        peer = await bridge.hotel.guest()
        await peer.until(lambda one: len(one.round_trips) >= 10)
        assert peer.codes == []


async def test_a_silent_client_is_given_up_with_4408_after_three_strikes(opened: Opener) -> None:
    bridge = await opened(heartbeat_seconds=0.05)
    reader, writer = await bridge.upgrade()
    stream = await read_all(reader)
    assert close_code(stream) == 4408
    assert stream.count(b"\x89\x04") == 3
    await hang_up(writer)
    assert await (await bridge.hotel.guest()).gone() == 4408


async def test_g6_another_interval_of_the_heartbeat_counts_for_who_is_connected(opened: Opener) -> None:
    bridge = await opened(heartbeat_seconds=3600.0)
    async with bridge.client():
        peer = await bridge.hotel.guest()
        bridge.hotel.heartbeat_seconds = 0.02
        await peer.until(lambda one: len(one.round_trips) >= 3)


async def test_a_client_we_do_not_listen_to_is_not_blamed_for_its_silence(opened: Opener) -> None:
    bridge = await opened(heartbeat_seconds=0.02)
    _, writer = await bridge.upgrade()
    peer = await bridge.hotel.guest()
    peer.wire.pause_reading()
    for _ in range(10):
        peer.wire.beat()
    assert not peer.wire.closing
    await hang_up(writer)


async def test_an_owner_that_breaks_costs_its_own_connection_only(bridge: Running) -> None:
    def fail(body: bytes) -> None:
        raise RuntimeError("a bug")

    async with bridge.client() as other:
        first = await bridge.hotel.guest()
        async with bridge.client() as client:
            (await bridge.hotel.guest(1)).on_message = fail
            await client.send("boom")
            await asyncio.wait_for(client.wait_closed(), PATIENCE)
            assert client.close_code == 1011
        echo(first)
        await other.send("still here")
        assert await asyncio.wait_for(other.recv(), PATIENCE) == "still here"


async def test_a_host_that_cannot_admit_costs_that_connection_only(bridge: Running) -> None:
    def fail(peer: Witness) -> None:
        raise RuntimeError("a bug")

    bridge.hotel.on_admit = fail
    async with bridge.client() as client:
        await asyncio.wait_for(client.wait_closed(), PATIENCE)
    assert client.close_code == 1011
    assert bridge.port.crowd.sockets == 0


async def test_nothing_of_a_closed_connection_stays_in_memory(bridge: Running) -> None:
    gone = []
    gc.collect()
    gc.disable()  # freed by counting references alone: circles would wait for the collector
    try:
        for code in (1000, 4409):
            async with bridge.client() as client:
                peer = await bridge.hotel.guest()
                gone += [weakref.ref(peer.wire), weakref.ref(peer.wire._protocol)]
                await client.send("hello")
                if code != 1000:
                    peer.wire.close(code, "")
                    await client.wait_closed()
            await peer.gone()
            del peer
            bridge.hotel.peers.clear()
        assert len(gone) == 4
        await eventually(lambda: not any(one() for one in gone))
    finally:
        gc.enable()
    crowd = bridge.port.crowd
    assert (crowd.sockets, crowd.wires, crowd.unknown, crowd.requests) == (0, 0, 0, 0)
    assert crowd.wires_from == crowd._sockets_from == {}
    assert not bridge.port.room.wires and not bridge.port.passing
