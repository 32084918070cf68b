"""With TLS a connection counts from the moment it comes, not from the end of its handshake."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from backchannel.tls import serving, trusting
from tests.bridge.conftest import PATIENCE, Opener, Running, hang_up, read_all
from tests.bridge.house.client import eventually
from tests.promises.certificate import write_pair

Pair = tuple[Path, Path]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return write_pair(tmp_path_factory.mktemp("certificate"))


async def asked(bridge: Running, pair: Pair) -> bytes:
    """A request over TLS, its head right behind the handshake; the answer."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", bridge.number, ssl=trusting(pair[0]))
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = await read_all(reader)
    await hang_up(writer)
    return answer


def turned_away(bridge: Running, reason: str) -> float:
    return float(bridge.metrics.turned_away.labels(reason).value)


async def test_a11_who_has_not_finished_its_handshake_counts(opened: Opener, pair: Pair) -> None:
    bridge = await opened(serving(*pair), handshake_seconds=3600.0)
    _, writer = await bridge.dial()
    await eventually(lambda: bridge.port.crowd.sockets == 1)
    assert bridge.port.crowd.handshakes_from == {"127.0.0.1": 1}
    await hang_up(writer)
    await eventually(lambda: bridge.port.crowd.sockets == 0)
    assert bridge.port.crowd.handshakes_from == {}


async def test_a11_who_never_finishes_its_handshake_is_sent_away(opened: Opener, pair: Pair) -> None:
    bridge = await opened(serving(*pair), handshake_seconds=0.1)
    reader, writer = await bridge.dial()
    assert await read_all(reader) == b""
    await eventually(lambda: turned_away(bridge, "handshake_too_slow") == 1)
    await eventually(lambda: bridge.port.crowd.sockets == 0)
    await hang_up(writer)


async def test_a11_one_address_may_have_so_many_handshakes_under_way_and_no_more(
    opened: Opener, pair: Pair
) -> None:
    bridge = await opened(serving(*pair), max_handshakes=1)
    _, silent = await bridge.dial()
    await eventually(lambda: bridge.port.crowd.sockets == 1)
    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        await asked(bridge, pair)
    assert turned_away(bridge, "too_many_handshakes") == 1
    await hang_up(silent)
    await eventually(lambda: bridge.port.crowd.sockets == 0)
    assert (await asked(bridge, pair)).startswith(b"HTTP/1.1 200 ")


async def test_a11_who_takes_long_over_its_handshake_gives_way_to_a_newcomer(
    opened: Opener, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.crowd.GRACE", 0.0)
    bridge = await opened(serving(*pair), max_handshakes=1, handshake_seconds=3600.0)
    reader, silent = await bridge.dial()
    await eventually(lambda: bridge.port.crowd.sockets == 1)
    assert (await asked(bridge, pair)).startswith(b"HTTP/1.1 200 ")
    assert await read_all(reader) == b"" and turned_away(bridge, "gave_way") == 1
    await hang_up(silent)
    await eventually(lambda: bridge.port.crowd.sockets == 0)
    assert bridge.port.crowd.handshakes_from == {}


async def test_who_has_shaken_hands_takes_no_place_of_those_who_have_not(opened: Opener, pair: Pair) -> None:
    bridge = await opened(serving(*pair), max_handshakes=1)
    bridge.url = bridge.url.replace("ws:", "wss:")
    async with bridge.client(ssl=trusting(pair[0])) as first, bridge.client(ssl=trusting(pair[0])) as second:
        assert bridge.port.crowd.handshakes_from == {} and bridge.port.crowd.wires == 2
        for number, client in enumerate((first, second)):
            await client.send("over TLS")
            await (await bridge.hotel.guest(number)).until(lambda one: bool(one.messages))


async def test_who_does_not_speak_tls_is_counted_as_that(opened: Opener, pair: Pair) -> None:
    bridge = await opened(serving(*pair))
    reader, writer = await bridge.dial()
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"HTTP/" not in await read_all(reader)
    await eventually(lambda: turned_away(bridge, "handshake_failed") == 1)
    assert bridge.port.crowd.sockets == 0
    await hang_up(writer)


async def test_a_bridge_that_closes_waits_for_no_handshake(opened: Opener, pair: Pair) -> None:
    bridge = await opened(serving(*pair), handshake_seconds=3600.0)
    reader, writer = await bridge.dial()
    await eventually(lambda: bridge.port.crowd.sockets == 1)
    async with asyncio.timeout(PATIENCE):
        await bridge.port.close("The test is over.", 3600.0)
        assert await read_all(reader) == b""
    assert bridge.port.crowd.sockets == 0
    await hang_up(writer)


async def test_a_storm_of_handshakes_is_served(opened: Opener, pair: Pair) -> None:
    bridge = await opened(serving(*pair))
    answers = await asyncio.gather(*(asked(bridge, pair) for _ in range(100)))
    assert {answer[:13] for answer in answers} == {b"HTTP/1.1 200 "}
    await eventually(lambda: bridge.port.crowd.sockets == 0)
