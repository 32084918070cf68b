"""One hostile agent at its worst for a while, as a process of its own.

    python -m bench.attacks NAME WS_URL NATS_URL AGENT SECONDS    (its token on standard input)

It comes back whenever it is closed, and reads only to throw away. Prints one JSON object: messages and bytes
sent, and how often it was let in and turned away.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from tests.build import content

TEXT = "a" * 900_000
EACH = 1 << 16
"""Bytes of tiny frames or lines handed to the kernel at a time."""
AGAIN = 0.1
"""Seconds until it comes back after it was closed."""
TARGETS = [f"honest-{number}" for number in range(20)]
Piece = tuple[int, bytes]
"""How many messages, and their bytes."""


def fresh(kind: str, **fields: Any) -> bytes:
    """A message with an id of its own; cheaper than the operating system's randomness."""
    known = content(kind, **fields) | {"message_id": str(UUID(int=random.getrandbits(128), version=4))}
    return json.dumps(known).encode()


def framed(body: bytes, opcode: int = 1, *, final: bool = True, packed: bool = False) -> bytes:
    """A client's frame; a mask of zeros leaves the body as it is (RFC 6455, section 5.2)."""
    first = opcode | (128 if final else 0) | (64 if packed else 0)
    size = len(body)
    if size < 126:
        head = bytes([first, 128 | size])
    elif size < 65_536:
        head = bytes([first, 254]) + size.to_bytes(2)
    else:
        head = bytes([first, 255]) + size.to_bytes(8)
    return head + bytes(4) + body


def many(frame: bytes) -> Piece:
    count = max(1, EACH // len(frame))
    return count, frame * count


def packed(body: bytes) -> bytes:
    """Deflated as permessage-deflate has it (RFC 7692, section 7.2.1)."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    return framed((squeeze.compress(body) + squeeze.flush(zlib.Z_SYNC_FLUSH))[:-4], packed=True)


# ---- over a WebSocket


def mentions() -> Iterator[Piece]:
    while True:
        yield 1, framed(fresh("mention_route", target_agents=TARGETS, message=TEXT))


def updates() -> Iterator[Piece]:
    while True:
        yield 1, framed(fresh("memory_update", context_id="main", exchange={"content": TEXT}))


def small_updates() -> Iterator[Piece]:
    while True:
        exchange = {"content": "x"}
        yield 1, framed(fresh("memory_update", context_id="main", exchange=exchange, priority="critical"))


def fragments() -> Iterator[Piece]:
    yield 1, framed(b"", 1, final=False)
    while True:
        yield many(framed(b"", 0, final=False))


def pongs() -> Iterator[Piece]:
    while True:
        yield many(framed(b"", 10))


def pings() -> Iterator[Piece]:
    while True:
        yield many(framed(b"", 9))


def acks() -> Iterator[Piece]:
    while True:
        yield many(framed(b'{"type":"ack"}'))


def app_pings() -> Iterator[Piece]:
    while True:
        yield 1, framed(fresh("ping"))


def garbage() -> Iterator[Piece]:
    while True:
        yield many(framed(b"{"))


def deflated() -> Iterator[Piece]:
    frames = [packed(fresh("memory_update", context_id="main", exchange={"content": "a" * 1_400_000}))]
    for frame in itertools.cycle(frames):
        yield 1, frame


def deflated_lists() -> Iterator[Piece]:
    """Costly to read as JSON, and no message in the end."""
    for frame in itertools.cycle([packed(b"[" + b"[]," * 300_000 + b"[]]")]):
        yield 1, frame


def patterns() -> Iterator[Piece]:
    for _ in range(8):
        exchange = {"content": "a" * 900_000}
        yield 1, framed(fresh("memory_update", context_id="main", exchange=exchange))
    while True:
        yield 1, framed(fresh("infodump", pattern="a" * 4000 + "?b"))


def explains() -> Iterator[Piece]:
    while True:
        params = {"message_id": str(UUID(int=random.getrandbits(128), version=4))}
        yield 1, framed(fresh("query", query="explain", params=params))


def contexts() -> Iterator[Piece]:
    while True:
        yield 1, framed(fresh("query", query="context", params={"context_id": "main", "limit": 1000}))


def names() -> Iterator[Piece]:
    text = " ".join(f"@nobody{number}" for number in range(9000))
    while True:
        yield 1, framed(fresh("memory_update", context_id="main", exchange={"content": text}))


# ---- over NATS


def line(subject: str, payload: bytes, reply: str = "") -> bytes:
    return f"PUB {subject} {reply + ' ' if reply else ''}{len(payload)}\r\n".encode() + payload + b"\r\n"


def native_commands(agent: str) -> Iterator[Piece]:
    while True:
        made = fresh("memory_update", context_id="main", exchange={"content": "x"}, priority="normal")
        yield 1, line(f"bc.main.cmd.normal.{agent}.memory_update", made)


def native_bad(agent: str) -> Iterator[Piece]:
    while True:
        yield many(line(f"bc.main.cmd.normal.{agent}.memory_update", b"{}", f"_INBOX_{agent}.a.b"))


def native_large(agent: str) -> Iterator[Piece]:
    while True:
        made = fresh("memory_update", context_id="main", exchange={"content": TEXT}, priority="normal")
        yield 1, line(f"bc.main.cmd.normal.{agent}.memory_update", made)


def native_acks(agent: str) -> Iterator[Piece]:
    subject = f"$JS.ACK.BC_EVENTS_main.agent-{agent}.1.1.1.1.1"
    while True:
        yield many(line(subject, b"+ACK"))


def native_infos(agent: str) -> Iterator[Piece]:
    subject = f"$JS.API.CONSUMER.INFO.BC_EVENTS_main.agent-{agent}"
    while True:
        yield many(line(subject, b"", f"_INBOX_{agent}.a.b"))


def native_pulls(agent: str) -> Iterator[Piece]:
    subject = f"$JS.API.CONSUMER.MSG.NEXT.BC_EVENTS_main.agent-{agent}"
    while True:
        yield many(line(subject, b"[]", f"_INBOX_{agent}.a.b"))


def native_explains(agent: str) -> Iterator[Piece]:
    while True:
        asked = json.dumps({"message_id": str(UUID(int=random.getrandbits(128), version=4))}).encode()
        yield 1, line("bc.main.svc.query.explain", asked, f"_INBOX_{agent}.a.b")


def native_holes(agent: str) -> Iterator[Piece]:
    """Questions whose answers are to go to somebody else."""
    while True:
        yield many(line("bc.main.svc.query.agents", b"{}", "_INBOX_honest-1.a.b"))


WEBSOCKET: dict[str, Callable[[], Iterator[Piece]]] = {
    "mentions": mentions,
    "updates": updates,
    "small-updates": small_updates,
    "fragments": fragments,
    "pongs": pongs,
    "pings": pings,
    "acks": acks,
    "app-pings": app_pings,
    "garbage": garbage,
    "deflated": deflated,
    "deflated-lists": deflated_lists,
    "patterns": patterns,
    "explains": explains,
    "contexts": contexts,
    "names": names,
}
NATIVE: dict[str, Callable[[str], Iterator[Piece]]] = {
    "native-commands": native_commands,
    "native-bad": native_bad,
    "native-large": native_large,
    "native-acks": native_acks,
    "native-infos": native_infos,
    "native-pulls": native_pulls,
    "native-explains": native_explains,
    "native-holes": native_holes,
}


@dataclass(slots=True)
class Told:
    """What came of it."""

    messages: int = 0
    sent: int = 0
    let_in: int = 0
    refused: int = 0
    heads: set[str] = field(default_factory=set)


def handshake(url: str, token: str, told: Told) -> socket.socket:
    place = urlsplit(url)
    found = socket.create_connection((str(place.hostname), int(place.port or 0)), timeout=10)
    key = base64.b64encode(os.urandom(16)).decode()
    found.sendall(
        f"GET /ws HTTP/1.1\r\nHost: {place.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nX-Memory-Auth: {token}\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover"
        "\r\n\r\n".encode()
    )
    head = found.recv(4096)
    told.heads.add(head[:12].decode(errors="replace"))
    if b" 101 " not in head[:20]:
        found.close()
        raise ConnectionRefusedError
    found.sendall(framed(b'{"type":"hello"}'))
    return found


def login(url: str, agent: str, token: str, told: Told) -> socket.socket:
    place = urlsplit(url)
    found = socket.create_connection((str(place.hostname), int(place.port or 0)), timeout=10)
    wanted = {"user": agent, "pass": token, "verbose": False, "lang": "raw", "version": "1", "protocol": 1}
    found.sendall(b"CONNECT " + json.dumps(wanted).encode() + b"\r\nPING\r\n")
    head = b""
    while b"PONG" not in head and b"-ERR" not in head:
        more = found.recv(4096)
        if not more:
            break
        head += more
    told.heads.add("PONG" if b"PONG" in head else head[-40:].decode(errors="replace"))
    if b"PONG" not in head:
        found.close()
        raise ConnectionRefusedError
    return found


def drain(connection: socket.socket) -> None:
    with suppress(OSError):
        while connection.recv(1 << 20):
            pass
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def answer_pings(connection: socket.socket) -> None:
    """For a NATS server, which ends who does not answer; anything with a PING in it will do."""
    with suppress(OSError):
        while got := connection.recv(1 << 16):
            if b"PING\r\n" in got:
                connection.sendall(b"PONG\r\n")


def attack(
    enter: Callable[[], socket.socket],
    pieces: Callable[[], Iterator[Piece]],
    hear: Callable[[socket.socket], None],
    until: float,
    told: Told,
) -> None:
    while time.monotonic() < until:
        try:
            connection = enter()
        except OSError:
            told.refused += 1
            time.sleep(AGAIN)
            continue
        told.let_in += 1
        connection.settimeout(2)
        threading.Thread(target=hear, args=(connection,), daemon=True).start()
        with suppress(OSError), connection:
            for messages, piece in pieces():
                connection.sendall(
                    piece
                )  # for two seconds at most; then it comes back with another connection
                told.messages += messages
                told.sent += len(piece)
                if time.monotonic() >= until:
                    return
        time.sleep(AGAIN)


def main() -> None:
    name, ws, nats, agent, seconds = sys.argv[1:6]
    token, told = sys.stdin.readline().strip(), Told()
    until = time.monotonic() + float(seconds)
    if name in WEBSOCKET:
        attack(lambda: handshake(ws, token, told), WEBSOCKET[name], drain, until, told)
    elif name in NATIVE:
        make = NATIVE[name]
        attack(lambda: login(nats, agent, token, told), lambda: make(agent), answer_pings, until, told)
    elif name == "busy":
        while time.monotonic() < until:
            told.messages += 1
    elif name == "nobody":
        time.sleep(max(0.0, until - time.monotonic()))
    found = {"messages": told.messages, "bytes": told.sent, "let_in": told.let_in, "refused": told.refused}
    print(json.dumps(found | {"heads": sorted(told.heads)}))


if __name__ == "__main__":
    main()
