"""What the port promises about connections, whatever is sent to it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.bridge.conftest import PATIENCE, Opener, Running, hang_up, read_all, read_head, status_of

GET = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def empty(bridge: Running) -> None:
    """Wait until nobody is connected any more."""
    gone = asyncio.Event()
    bridge.port.crowd.on_empty = gone.set
    if bridge.port.crowd.sockets:
        await asyncio.wait_for(gone.wait(), PATIENCE)


async def test_one_port_speaks_websocket_and_http(bridge: Running) -> None:
    async with bridge.client() as client:
        await client.send("hello")
        answer = await bridge.exchange(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await (await bridge.hotel.guest()).until(lambda peer: peer.messages == [b"hello"])
    assert status_of(answer) == 200


async def test_a_head_may_come_byte_by_byte(bridge: Running) -> None:
    reader, writer = await bridge.dial()
    for byte in bridge.handshake(f"X-Memory-Auth: {bridge.token()}"):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)
    assert status_of(await read_head(reader)) == 101
    await hang_up(writer)


async def test_a_frame_in_the_same_packet_as_the_handshake_is_not_lost(bridge: Running) -> None:
    reader, writer = await bridge.dial()
    writer.write(bridge.handshake(f"X-Memory-Auth: {bridge.token()}") + b"\x81\x82\0\0\0\0hi")
    assert status_of(await read_head(reader)) == 101
    await (await bridge.hotel.guest()).until(lambda peer: peer.messages == [b"hi"])
    await hang_up(writer)


@pytest.mark.parametrize("said", [b"", b"G", b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websock"])
async def test_who_does_not_finish_its_head_is_cut_off_at_the_deadline(opened: Opener, said: bytes) -> None:
    bridge = await opened(head_seconds=0.1)
    assert await bridge.exchange(said) == b""
    await empty(bridge)
    assert bridge.metrics.turned_away.labels("head_too_slow").value == 1


async def test_two_hundred_silent_sockets_hold_nobody_up_and_are_gone_at_the_deadline(opened: Opener) -> None:
    bridge = await opened(head_seconds=2.0)
    silent = [await bridge.dial() for _ in range(200)]
    async with bridge.client() as client:
        await client.send("hello")
        await (await bridge.hotel.guest()).until(lambda peer: bool(peer.messages))
        assert [await read_all(reader) for reader, _ in silent] == [b""] * 200
    for _, writer in silent:
        await hang_up(writer)
    await empty(bridge)
    assert bridge.port.passing == set()


@pytest.mark.parametrize("ended", [b"", b"\r\n\r\n"])
async def test_a_head_that_is_too_large_is_refused_with_431(bridge: Running, ended: bytes) -> None:
    head = b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 1000) for n in range(20))
    assert status_of(await bridge.exchange(head.removesuffix(b"\r\n") + ended)) == 431


async def test_a_line_of_a_handshake_that_is_too_long_is_refused_with_431(bridge: Running) -> None:
    assert status_of(await bridge.exchange(bridge.handshake("X-Long: " + "x" * 9000))) == 431


async def test_an_answer_is_read_even_by_a_client_that_keeps_sending(opened: Opener) -> None:
    bridge = await opened(close_seconds=PATIENCE)
    reader, writer = await bridge.dial()
    writer.write(b"GET / HTTP/1.1\r\nX: " + b"x" * 300_000)
    assert status_of(await read_head(reader)) == 431
    for _ in range(20):
        writer.write(b"x" * 100_000)
        await writer.drain()
    await hang_up(writer)
    await empty(bridge)


async def test_a_refused_client_that_never_goes_is_dropped(opened: Opener) -> None:
    bridge = await opened(close_seconds=0.1)
    reader, writer = await bridge.dial()
    writer.write(bridge.handshake())
    assert status_of(await read_all(reader)) == 401
    await empty(bridge)
    await hang_up(writer)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"{}\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET\r\n\r\n",
        b"\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_refused_with_400(bridge: Running, garbage: bytes) -> None:
    assert status_of(await bridge.exchange(garbage)) == 400


@pytest.mark.parametrize(
    ("line", "status"),
    [("GET /ws HTTP/1.0", 505), ("GET /ws HTTP/3", 400), ("GET /ws", 400), ("G\u00cbT /ws HTTP/1.1", 400)],
)
async def test_a_handshake_in_a_strange_dialect_is_refused(bridge: Running, line: str, status: int) -> None:
    head = bridge.handshake(f"X-Memory-Auth: {bridge.token()}")
    strange = line.encode("latin-1") + head[head.index(b"\r\n") :]
    assert status_of(await bridge.exchange(strange)) == status


async def test_http_connections_are_kept_and_can_become_websockets(bridge: Running) -> None:
    reader, writer = await bridge.dial()
    for _ in range(3):
        writer.write(GET)
        head = await read_head(reader)
        assert status_of(head) == 200
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert json.loads(await reader.readexactly(length)) == {"status": "live"}
    writer.write(bridge.handshake(f"Authorization: Bearer {bridge.token()}") + b"\x81\x82\0\0\0\0hi")
    assert status_of(await read_head(reader)) == 101
    peer = await bridge.hotel.guest()
    await peer.until(lambda one: one.messages == [b"hi"])
    crowd = bridge.port.crowd
    assert (crowd.sockets, crowd.wires, crowd.requests) == (1, 1, 0)
    await hang_up(writer)
    await peer.gone()
    await empty(bridge)


async def test_a_kept_connection_is_shown_to_the_gate_like_any_other(bridge: Running) -> None:
    reader, writer = await bridge.dial()
    writer.write(GET + bridge.handshake())
    answers = await read_all(reader)
    assert answers.count(b"HTTP/1.1 200") == answers.count(b"HTTP/1.1 401") == 1
    assert bridge.hotel.peers == []
    await hang_up(writer)
    await empty(bridge)


async def test_a_handshake_behind_a_request_is_answered_after_it(bridge: Running) -> None:
    reader, writer = await bridge.dial()
    writer.write(GET + GET + bridge.handshake(f"X-Memory-Auth: {bridge.token()}"))
    for expected in (200, 200, 101):
        head = await read_head(reader)
        assert status_of(head) == expected
        if expected == 200:
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
    await bridge.hotel.guest()
    await hang_up(writer)


async def test_the_second_head_of_a_connection_has_a_deadline_too(opened: Opener) -> None:
    bridge = await opened(head_seconds=0.2)
    answer = await bridge.exchange(GET + b"GET /health/live HT")
    assert answer.count(b"HTTP/1.1 200") == 1
    await empty(bridge)


async def test_a_client_that_closes_its_half_is_still_answered(bridge: Running) -> None:
    reader, writer = await bridge.dial()
    writer.write(GET)
    writer.write_eof()
    assert status_of(await read_all(reader)) == 200
    await hang_up(writer)
    await empty(bridge)


async def test_a_full_bridge_says_so_and_when_to_come_again(opened: Opener) -> None:
    bridge = await opened(max_connections=2)
    async with bridge.client(), bridge.client():
        with pytest.raises(InvalidStatus) as refused:
            async with bridge.client():
                pass
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["Retry-After"] == "1"
    await empty(bridge)
    async with bridge.client():
        pass


async def test_one_address_cannot_take_every_place(opened: Opener) -> None:
    bridge = await opened(max_per_address=1)
    async with bridge.client():
        with pytest.raises(InvalidStatus) as refused:
            async with bridge.client():
                pass
        assert refused.value.response.status_code == 429
        assert refused.value.response.headers["Retry-After"] == "1"


async def test_pages_that_do_not_say_who_they_are_cannot_take_every_place(opened: Opener) -> None:
    bridge = await opened(max_unauthenticated=1)
    anonymous = {"origin": bridge.origin, "additional_headers": {}}
    async with bridge.client(**anonymous) as first, bridge.client():
        with pytest.raises(InvalidStatus) as refused:
            async with bridge.client(**anonymous):
                pass
        assert refused.value.response.status_code == 429
        peer = await bridge.hotel.guest()
        assert peer.wire.claims is None
        peer.wire.claims = (await bridge.hotel.guest(1)).wire.claims  # it said who it is
        async with bridge.client(**anonymous):
            assert bridge.port.crowd.unknown == 1
        await first.close()
    await empty(bridge)
    assert bridge.port.crowd.unknown == 0


async def test_there_is_a_limit_for_http_connections_and_it_leaves_websockets_alone(opened: Opener) -> None:
    bridge = await opened(max_requests=1)
    busy = await storing(bridge)
    assert status_of(await bridge.exchange(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")) == 503
    async with bridge.client():
        pass
    await hang_up(busy)


async def storing(bridge: Running) -> asyncio.StreamWriter:
    """A request that is being answered: it has been asked for its body."""
    reader, writer = await bridge.dial()
    head = f"POST /store HTTP/1.1\r\nHost: localhost\r\nX-Memory-Auth: {bridge.token()}\r\n"
    writer.write(f"{head}Content-Length: 9\r\nExpect: 100-continue\r\n\r\n".encode())
    assert status_of(await read_head(reader)) == 100
    return writer


async def test_a_connection_that_waits_for_its_next_request_gives_way(opened: Opener) -> None:
    bridge = await opened(max_requests=2, max_requests_per_address=2)
    first, second = [await bridge.dial() for _ in range(2)]
    for reader, writer in (first, second):
        writer.write(GET)
        assert status_of(await read_head(reader)) == 200
    busy = await storing(bridge)
    assert (await read_all(first[0])).endswith(b"}\n")  # the oldest of them had to go
    second[1].write(GET)
    assert status_of(await read_head_behind_body(second[0])) == 200
    assert bridge.metrics.turned_away.labels("gave_way").value == 1
    for writer in (busy, first[1], second[1]):
        await hang_up(writer)


async def read_head_behind_body(reader: asyncio.StreamReader) -> bytes:
    await reader.readuntil(b"}\n")
    return await read_head(reader)


@pytest.mark.parametrize(("page", "status"), [("live", 200), ("ready", 200), ("ready", 503)])
async def test_whether_it_lives_is_told_when_there_is_room_for_nobody(
    opened: Opener, page: str, status: int
) -> None:
    bridge = await opened(max_requests=1)
    bridge.hotel.parts["nats"] = {"up": status == 200}
    busy = await storing(bridge)
    request = f"GET /health/{page} HTTP/1.1\r\nHost: %s\r\n\r\n"
    answer = await bridge.exchange((request % "localhost").encode())
    assert status_of(answer) == status and b'{"status": "' in answer
    assert status_of(await bridge.exchange((request % "evil.example").encode())) == 421
    await hang_up(busy)


async def test_a_newcomer_has_the_place_of_whoever_has_not_finished_its_head(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.crowd.HEADROOM", 0)
    bridge = await opened(max_connections=2, max_per_address=2, max_requests=1, head_seconds=3600.0)
    silent = [await bridge.dial() for _ in range(3)]
    answer = await bridge.exchange(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert status_of(answer) == 200
    for _, writer in silent:
        await hang_up(writer)


async def test_one_address_cannot_take_every_place_of_those_who_have_yet_to_say_who_they_are(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.crowd.GRACE", 3600.0)
    bridge = await opened(max_unauthenticated=3, max_unauthenticated_per_address=1)
    page = {"origin": bridge.origin, "additional_headers": {}}
    async with bridge.client(**page) as first:
        with pytest.raises(InvalidStatus) as refused:
            async with bridge.client(**page):
                pass
        assert refused.value.response.status_code == 429
        monkeypatch.setattr("bridge.crowd.GRACE", 0.0)
        async with bridge.client(**page):  # who has had its time gives way
            with pytest.raises(ConnectionClosed):
                await first.recv()
            assert bridge.port.crowd.unknown == 1
    await empty(bridge)
    assert bridge.port.crowd.unknown_from == {}


async def test_more_sockets_than_can_be_told_no_are_dropped(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.crowd.HEADROOM", 0)
    bridge = await opened(max_connections=2, max_requests=1)
    async with bridge.client(), bridge.client():
        busy = await storing(bridge)
        with contextlib.suppress(ConnectionError):
            assert await bridge.exchange(b"") == b""
        assert bridge.metrics.turned_away.labels("too_many").value == 1
        await hang_up(busy)
    await empty(bridge)
    assert bridge.port.crowd._sockets_from == {}


async def test_until_somebody_is_at_home_everybody_is_told_to_come_again(bridge: Running) -> None:
    bridge.hotel.ready = False
    with pytest.raises(InvalidStatus) as refused:
        async with bridge.client():
            pass
    assert refused.value.response.status_code == 503
    assert refused.value.response.headers["Retry-After"] == "1"
    bridge.hotel.ready = True
    async with bridge.client():
        pass


async def test_a_closing_port_says_goodbye_to_everybody(opened: Opener) -> None:
    bridge = await opened()
    clients = [await stack_client(bridge) for _ in range(5)]
    kept = await bridge.dial()
    kept[1].write(GET)
    await read_head(kept[0])
    silent = await bridge.dial()
    await bridge.hotel.guest(4)
    async with asyncio.timeout(PATIENCE):
        await bridge.port.close("The bridge restarts.", PATIENCE)
    for client in clients:
        goodbye = json.loads(await asyncio.wait_for(client.recv(), PATIENCE))
        assert (goodbye["type"], goodbye["code"], goodbye["reason"]) == (
            "goodbye",
            1012,
            "The bridge restarts.",
        )
        assert goodbye["retry_after"] >= 0
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(client.recv(), PATIENCE)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
    assert [peer.codes for peer in bridge.hotel.peers] == [[1012]] * 5
    with contextlib.suppress(ConnectionError):
        await read_all(kept[0])
    with contextlib.suppress(ConnectionError):
        assert await read_all(silent[0]) == b""
    with pytest.raises(OSError):
        await bridge.dial()
    assert bridge.port.crowd.sockets == 0
    for _, writer in (kept, silent):
        await hang_up(writer)


async def stack_client(bridge: Running) -> object:
    from websockets.asyncio.client import connect

    headers = {"X-Memory-Auth": bridge.token()}
    return await connect(bridge.url, additional_headers=headers, open_timeout=PATIENCE)


async def test_a_closing_port_does_not_wait_for_those_who_do_not_go(opened: Opener) -> None:
    bridge = await opened(close_seconds=3600.0)
    _, writer = await bridge.upgrade()
    peer = await bridge.hotel.guest()
    async with asyncio.timeout(PATIENCE):
        await bridge.port.close("The bridge restarts.", 0.1)
    assert peer.codes == [1012]
    assert bridge.port.crowd.sockets == 0
    await hang_up(writer)


async def test_a_hushed_port_answers_what_was_read_and_reads_no_more(bridge: Running) -> None:
    reader, writer = await bridge.upgrade()
    peer = await bridge.hotel.guest()
    bridge.port.hush()
    writer.write(b"\x81\x82\0\0\0\0hi")
    peer.wire.resume_reading()
    peer.wire.send(b"accepted")
    async with asyncio.timeout(PATIENCE):
        assert await reader.readexactly(10) == b"\x81\x08accepted"
    assert peer.messages == []
    await hang_up(writer)


async def test_many_connections_come_and_go_without_a_trace(bridge: Running) -> None:
    async def visit(number: int) -> None:
        async with bridge.client() as client:
            await client.send(str(number))
            if number % 3 == 0:
                client.transport.abort()

    for _ in range(5):
        await asyncio.gather(*(visit(number) for number in range(40)))
    await empty(bridge)
    await asyncio.gather(*(peer.gone() for peer in bridge.hotel.peers))
    assert all(len(peer.codes) == 1 for peer in bridge.hotel.peers)
    assert bridge.port.room.wires == set()
    assert bridge.metrics.sockets.value == 0
    assert bridge.metrics.opened.value == 200
    assert sum(one.value for one in bridge.metrics.closed.meters.values()) == 200


async def test_the_standard_library_can_talk_to_it(bridge: Running) -> None:
    def ask() -> tuple[int, bytes, int]:
        connection = http.client.HTTPConnection("127.0.0.1", bridge.number, timeout=PATIENCE)
        connection.request("HEAD", "/health")
        head = connection.getresponse()
        nothing = head.read()
        connection.request("GET", "/health")
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return head.status, nothing, answer.status

    assert await asyncio.to_thread(ask) == (200, b"", 200)
