"""Many bare WebSocket listeners in one process: count what comes, and how old it is when it does.

    python -m bench.listeners HOST PORT MESSAGES    (a token a line on standard input)

Prints ``ready`` once all are live; then, when each has MESSAGES, one JSON object with the figures.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import time
from array import array
from functools import partial
from typing import cast

from bench.table import percentile

MARK = b'"content":"t='
"""What begins the content of a measured message; the sender's clock follows, in nanoseconds."""
OPCODE_PING = 9


class Listener(asyncio.Protocol):
    """One connection: upgrade, hello, then frames cut as cheaply as can be."""

    hello = b'{"type":"hello"}'

    def __init__(self, host: str, token: str, wanted: int, ages: array[float]) -> None:
        self._host = host
        self._token = token
        self._wanted = wanted
        self._ages = ages
        self._rest = b""
        self._upgraded = False
        self.live = asyncio.get_running_loop().create_future()
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass of it
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET /ws HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"X-Memory-Auth: {self._token}\r\n\r\n".encode()
        )

    def data_received(self, received: bytes) -> None:
        now = time.monotonic_ns()
        received = self._rest + received
        if not self._upgraded:
            head, blank, received = received.partition(b"\r\n\r\n")
            if not blank:
                self._rest = head
                return
            if b" 101 " not in head[:20]:
                raise SystemExit(head.decode())
            self._upgraded = True
            self._say()
        self._rest = self._frames(received, now)

    def connection_lost(self, problem: Exception | None) -> None:
        for future in (self.live, self.done):
            if not future.done():
                future.set_exception(ConnectionError("The bridge closed the connection."))

    def _frames(self, received: bytes, now: int) -> bytes:
        place = 0
        while len(received) - place >= 2:
            size, start = received[place + 1], place + 2
            if size == 126:
                size, start = int.from_bytes(received[place + 2 : place + 4], "big"), place + 4
            elif size == 127:
                size, start = int.from_bytes(received[place + 2 : place + 10], "big"), place + 10
            if len(received) < start + size:
                break
            self._take(received[place] & 15, received[start : start + size], now)
            place = start + size
        return received[place:]

    def _take(self, opcode: int, body: bytes, now: int) -> None:
        if opcode == OPCODE_PING:
            self._send(10, body)
        elif not self.live.done() and b'"type":"live"' in body:
            self.live.set_result(None)
        found = body.find(MARK)
        while found >= 0:
            start = found + len(MARK)
            self._ages.append((now - int(body[start : body.index(b'"', start)])) / 1e6)
            self._wanted -= 1
            found = body.find(MARK, start)
        if self._wanted <= 0 and not self.done.done():
            self.done.set_result(time.monotonic())

    def _say(self) -> None:
        self._send(1, self.hello)

    def _send(self, opcode: int, body: bytes) -> None:
        size = bytes([128 | len(body)]) if len(body) < 126 else b"\xfe" + len(body).to_bytes(2)
        self._transport.write(bytes([128 | opcode]) + size + bytes(4) + body)


async def main() -> None:
    host, port, wanted = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    tokens = [line.strip() for line in sys.stdin]
    ages = array("d")
    listeners = []
    for token in tokens:
        _, listener = await asyncio.get_running_loop().create_connection(
            partial(Listener, host, token, wanted, ages), host, port
        )
        await listener.live
        listeners.append(listener)
    print("ready", flush=True)
    ended = await asyncio.gather(*(listener.done for listener in listeners))
    figures = {
        "delivered": len(ages),
        "ended": max(ended),
        "p50": percentile(ages, 0.5),
        "p99": percentile(ages, 0.99),
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.install()
    except ImportError:
        pass
    asyncio.run(main())
