"""Compression: only for who offered it, only where it pays, and no bomb gets in."""

from __future__ import annotations

import asyncio
import json
import os
import zlib
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, PerMessageDeflate
from websockets.frames import CONT, TEXT, Frame, Opcode
from websockets.typing import ExtensionParameter

from bridge.deflate import SMALLEST, Deflate, taken_apart, takes_deflated
from bridge.framing import frame
from bridge.meter import Count
from tests.bridge.conftest import PATIENCE, Running, Witness, hang_up, read_all

LONG = json.dumps({"words": "the quick brown fox jumps over the lazy dog " * 300}).encode()
BODIES = st.lists(
    st.sampled_from([b"", b"{}", b"x" * 1023, b"y" * 1024, LONG, os.urandom(5000)]), max_size=12
)


def stopped() -> float:
    return 0.0


def reader() -> PerMessageDeflate:
    return PerMessageDeflate(True, True, zlib.MAX_WBITS, zlib.MAX_WBITS)


def masked(opcode: Opcode, body: bytes, *, fin: bool = True, packed: bool = True) -> bytes:
    """A frame as a client sends it, marked as compressed."""
    whole = Frame(opcode, body, fin).serialize(mask=True)
    return bytes((whole[0] | (0x40 if packed else 0),)) + whole[1:]


def read(frames: bytes) -> list[bytes]:
    """The bodies of frames, as the library of somebody else understands them."""
    found, extension = [], reader()
    for whole, body in taken_apart(frames):
        got = Frame(Opcode(whole[0] & 15), body, bool(whole[0] & 0x80), bool(whole[0] & 0x40))
        found.append(bytes(extension.decode(got).data))
    return found


@settings(deadline=None)
@given(BODIES)
def test_whatever_is_made_smaller_is_read_back_as_it_was(bodies: list[bytes]) -> None:
    saved = Count()
    deflate = Deflate(saved, clock=stopped)
    frames = b"".join(map(frame, bodies))
    first, second = deflate.shared(frames), deflate.shared(frames)
    assert first is second or first == second
    assert read(first) == bodies
    assert len(first) <= len(frames)
    assert saved.value == 2 * (len(frames) - len(first))
    for body in bodies:
        assert read(deflate.alone(body)) == [body]


def test_small_frames_and_those_that_do_not_shrink_stay_as_they_are() -> None:
    deflate = Deflate(Count(), clock=stopped)
    for body in (b"z" * (SMALLEST - 1), os.urandom(10_000)):
        assert deflate.shared(frame(body)) == frame(body)


def test_when_it_would_take_too_much_time_frames_go_out_as_they_are() -> None:
    moments = count(step=1)
    deflate = Deflate(Count(), clock=lambda: next(moments) / 10)
    sizes = [len(deflate.alone(LONG + str(number).encode())) for number in range(4)]
    assert sizes[0] < len(LONG) < sizes[1]


@pytest.mark.parametrize(("bits", "takes"), [(None, True), ("15", True), ("10", False)])
async def test_a_client_with_a_small_window_is_sent_nothing_compressed(
    bridge: Running, bits: str | None, takes: bool
) -> None:
    window = f"; server_max_window_bits={bits}" if bits else ""
    reader_, writer = await bridge.upgrade(f"Sec-WebSocket-Extensions: permessage-deflate{window}")
    peer = await bridge.hotel.guest()
    peer.wire.send(LONG)
    async with asyncio.timeout(PATIENCE):
        first = await reader_.readexactly(1)
    assert bool(first[0] & 0x40) is takes
    await hang_up(writer)


async def test_messages_pass_compressed_in_both_directions(bridge: Running) -> None:
    def echo(peer: Witness) -> None:
        peer.on_message = peer.wire.send

    bridge.hotel.on_admit = echo
    bridge.port.room.deflate = Deflate(bridge.metrics.deflated, clock=stopped)  # it always has the time
    async with bridge.client(compression="deflate") as client:
        for body in (LONG.decode(), "short", LONG.decode()):
            await client.send(body)
            assert await asyncio.wait_for(client.recv(), PATIENCE) == body
    assert bridge.metrics.sent_bytes.value < len(LONG)


async def test_who_offers_nothing_is_sent_nothing_compressed(bridge: Running) -> None:
    async with bridge.client() as client:
        peer = await bridge.hotel.guest()
        peer.wire.send(LONG)
        assert await asyncio.wait_for(client.recv(), PATIENCE) == LONG.decode()
    assert bridge.metrics.sent_bytes.value > len(LONG)


async def test_a_small_frame_that_unpacks_into_a_huge_one_is_refused(bridge: Running) -> None:
    async with bridge.client(compression="deflate") as client:
        with pytest.raises(ConnectionClosed):
            await client.send("0" * (64 << 20))
            while True:
                await asyncio.wait_for(client.recv(), PATIENCE)
    assert client.close_code == 1009


async def test_many_fragments_that_unpack_into_too_much_are_refused(bridge: Running) -> None:
    reader_, writer = await bridge.upgrade("Sec-WebSocket-Extensions: permessage-deflate")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    for number in range(40):
        packed = packer.compress(b"0" * 100_000) + packer.flush(zlib.Z_SYNC_FLUSH)
        opcode = TEXT if number == 0 else CONT
        writer.write(masked(opcode, packed, fin=False, packed=number == 0))
    said = await read_all(reader_)
    assert b"\x03\xf1" in said  # 1009
    await hang_up(writer)
    peer = await bridge.hotel.guest()
    assert await peer.gone() == 1009 and not peer.messages


async def test_what_is_no_deflate_stream_ends_that_connection_alone(bridge: Running) -> None:
    reader_, writer = await bridge.upgrade("Sec-WebSocket-Extensions: permessage-deflate")
    writer.write(masked(TEXT, b"\xff" * 50))
    await read_all(reader_)
    await hang_up(writer)
    peer = await bridge.hotel.guest()
    assert await peer.gone() == 1002 and not peer.messages


def test_the_sdks_offer_is_one_the_bridge_can_serve_everybody_with() -> None:
    from backchannel.client.websocket import DEFLATE
    from bridge.deflate import OFFER

    params: list[ExtensionParameter] = [(name, value) for name, value in DEFLATE.get_request_params()]
    answer, extension = OFFER.process_request_params(params, [])
    assert takes_deflated([extension])
    assert isinstance(DEFLATE, ClientPerMessageDeflateFactory)
    assert ("client_no_context_takeover", None) in answer
