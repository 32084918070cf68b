"""What a bridge promises of how it reads: in turns, by frames, and on account."""

from __future__ import annotations

import asyncio
import json
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import BINARY, CLOSE, CONT, PING, PONG, TEXT, Frame, Opcode

from backchannel.delivery import work
from backchannel.delivery.pace import Account
from bridge.accounts import Accounts
from bridge.heads import Heads
from bridge.turns import Turns
from tests.bridge.conftest import PATIENCE, Running, Witness, hang_up

OPCODES = st.sampled_from((TEXT, BINARY, CONT, PING, PONG, CLOSE))
SIZES = st.one_of(st.integers(0, 130), st.sampled_from((125, 126, 65_535, 65_536, 70_000)))


def sent(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


def cut(heads: Heads, stream: bytes) -> list[tuple[bytes, bool]]:
    """The pieces of a stretch of the stream, and whether each completes a frame."""
    found, start = [], 0
    while start < len(stream):
        end = heads.end(stream, start)
        found.append((stream[start:end], heads.whole))
        start = end
    return found


@settings(max_examples=60)
@given(st.lists(st.tuples(OPCODES, SIZES, st.booleans()), max_size=8), st.integers(1, 40_000))
def test_a_stream_is_cut_between_its_frames_however_it_comes(
    frames: list[tuple[Opcode, int, bool]], step: int
) -> None:
    wanted = [
        Frame(opcode, b"x" * size).serialize(mask=mask)
        for opcode, size, mask in frames
        if opcode in (TEXT, BINARY, CONT) or size <= 125
    ]
    stream, heads = b"".join(wanted), Heads()
    found, current = [], b""
    for start in range(0, len(stream), step):
        for piece, whole in cut(heads, stream[start : start + step]):
            current += piece
            if whole:
                found.append(current)
                current = b""
    assert found == wanted
    assert current == b""


@given(st.binary(max_size=300))
def test_whatever_comes_every_byte_goes_on_once_and_in_order(garbage: bytes) -> None:
    assert b"".join(piece for piece, _ in cut(Heads(), garbage)) == garbage


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 100)), max_size=30))
def test_whoever_waits_until_the_debt_is_paid_gets_no_more_than_rate_and_burst(
    doings: list[tuple[float, float]],
) -> None:
    account, now, had, last = Account(rate=10, burst=50), 0.0, 0.0, 0.0
    account.wait(now)
    for pause, cost in doings:
        now += pause + account.wait(now + pause)
        account.wait(now)
        had, last = had + cost, cost
        account.charge(cost)
        assert had - last <= 50 + 10 * now + 1e-6 * (1 + now)


def test_an_account_is_one_for_all_connections_of_an_agent_and_they_are_bounded() -> None:
    accounts = Accounts(most=3)
    assert accounts.of(("main", "a")) is accounts.of(("main", "a"))
    assert accounts.of(("main", "a")) is not accounts.of(("other", "a"))
    kept = accounts.of(("main", "b"))
    for name in "cd":
        accounts.of(("main", name))
    assert accounts.of(("main", "b")) is kept
    assert accounts.of(("main", "a")).wait(0.0) == 0.0


class Diligent:
    """Has so many pieces of work to do, one in each of its turns."""

    def __init__(self, name: str, turns: Turns, pieces: int, seen: list[str]) -> None:
        self.name, self.turns, self.pieces, self.seen = name, turns, pieces, seen

    def work(self) -> float:
        self.seen.append(self.name)
        self.pieces -= 1
        if self.pieces:
            self.turns.later(self)
        return 1.0


async def test_everybody_has_a_turn_before_anybody_has_the_next() -> None:
    seen: list[str] = []
    turns = Turns(asyncio.get_running_loop(), most=2)
    for name in ("greedy", "b", "c"):
        turns.now(Diligent(name, turns, 4 if name == "greedy" else 1, seen))
    assert seen == ["greedy"]  # the others come behind it, and it behind them
    while len(seen) < 6:
        before = len(seen)
        await asyncio.sleep(0)
        assert len(seen) - before <= 2  # no turn of the loop does more
    assert seen == ["greedy", "greedy", "b", "c", "greedy", "greedy"]


async def test_a_flood_of_pongs_is_read_in_turns_and_closed_while_another_is_served(bridge: Running) -> None:
    _, offender = await bridge.upgrade()
    offending = await bridge.hotel.guest()
    async with bridge.client(additional_headers={"X-Memory-Auth": bridge.token("honest")}) as honest:
        answering = await bridge.hotel.guest(1)
        answering.on_message = answering.wire.send
        offender.write(sent(PONG, b"") * (work.QUIET_BURST + 30_000))
        for number in range(20):
            await honest.send(f"{number}")
            assert await asyncio.wait_for(honest.recv(), PATIENCE) == f"{number}"
        assert await offending.gone() == 4429
        await honest.send("after")
        assert await asyncio.wait_for(honest.recv(), PATIENCE) == "after"
    await hang_up(offender)


async def test_whoever_is_in_debt_is_read_no_more_until_it_is_paid(bridge: Running) -> None:
    _, writer = await bridge.upgrade()
    peer = await bridge.hotel.guest()
    peer.on_message = lambda _: peer.wire.charge(100 << 20)  # as if each were dear: the debt of many seconds
    writer.write(sent(TEXT, b"first") + sent(TEXT, b"second"))
    await peer.until(lambda one: bool(one.messages))
    async with bridge.client(additional_headers={"X-Memory-Auth": bridge.token("honest")}) as honest:
        other = await bridge.hotel.guest(1)
        other.on_message = other.wire.send
        for number in range(20):
            await honest.send(f"{number}")
            assert await asyncio.wait_for(honest.recv(), PATIENCE) == f"{number}"
    assert peer.messages[:2] == [b"first", b"second"][: len(peer.messages)]
    assert peer.wire.waiting == 0 and len(peer.messages) <= 2
    await hang_up(writer)


async def test_bytes_that_were_deflated_are_charged_by_what_they_stood_for(bridge: Running) -> None:
    account = bridge.port.room.accounts.of(("main", "scout"))
    account.tune(1.0, 600_000.0)
    async with bridge.client(compression="deflate") as client:
        peer = await bridge.hotel.guest()
        await client.send("a" * 500_000)
        await peer.until(lambda one: len(one.messages) == 1)
        assert account.wait(asyncio.get_running_loop().time()) == 0.0
        await client.send("a" * 500_000)
        await peer.until(lambda one: len(one.messages) == 2)
        assert account.wait(asyncio.get_running_loop().time()) > 300_000
        account.tune(1e9, 1e9)


async def test_a_message_that_is_all_line_and_no_content_ends(bridge: Running) -> None:
    """Behind its last block a deflated message stands for nothing, however long it is."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    ended = packer.compress(b"x") + packer.flush(zlib.Z_FINISH)
    offer = "permessage-deflate; client_no_context_takeover; server_no_context_takeover"
    reader, writer = await bridge.upgrade(f"Sec-WebSocket-Extensions: {offer}")
    first = bytearray(sent(TEXT, ended, fin=False))
    first[0] |= 0x40
    writer.write(bytes(first))
    peer = await bridge.hotel.guest()
    for _ in range(40):
        writer.write(sent(CONT, b"y" * 65_536, fin=False))
    assert await peer.gone() == 1009
    await hang_up(writer)
    assert reader.at_eof() or not peer.messages


async def test_what_waits_is_read_though_the_client_has_said_all(bridge: Running) -> None:
    """A client that closes its half at once is heard to its last message."""
    _, writer = await bridge.upgrade()
    peer = await bridge.hotel.guest()
    bodies = [json.dumps(number).encode() for number in range(3_000)]
    writer.write(b"".join(sent(TEXT, body) for body in bodies))
    writer.write_eof()
    await peer.gone()
    assert peer.messages == bodies
    await hang_up(writer)


async def test_pause_within_a_stretch_keeps_what_follows_for_later(bridge: Running) -> None:
    def stop(peer: Witness) -> None:
        peer.on_message = lambda _: peer.wire.pause_reading()

    bridge.hotel.on_admit = stop
    _, writer = await bridge.upgrade()
    writer.write(sent(TEXT, b"1") + sent(TEXT, b"2") + sent(CLOSE, b"\x03\xe8"))
    peer = await bridge.hotel.guest()
    await peer.until(lambda one: one.messages == [b"1"])
    peer.wire.resume_reading()
    await peer.until(lambda one: one.messages == [b"1", b"2"])
    peer.wire.resume_reading()
    assert await peer.gone() == 1000
    await hang_up(writer)
