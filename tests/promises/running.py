"""A whole platform in processes of its own, and a client that knows nothing but the wire protocol."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket as sockets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import jwt
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from backchannel.home import Home
from backchannel.jetstream.leash import leashed
from tests.build import content
from tests.eventually import eventually
from tests.ports import free_port

WAIT = 60.0
BACKCHANNEL = str(Path(sys.executable).with_name("backchannel"))
Frame = dict[str, Any]
TAKEN = 128 << 10
"""What the kernel takes for a reader that has stopped: the same on every machine."""


class Platform:
    """`backchannel up` on free ports over one data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.ws = self.http = self.nats = ""
        self._agents: list[Raw] = []
        self._up: asyncio.subprocess.Process | None = None

    async def start(self, *more: str) -> Self:
        nats_port = ("--nats-port", str(free_port()))
        self._up = await asyncio.create_subprocess_exec(
            *leashed([BACKCHANNEL, "up", "--data", str(self.data), "--port", "0", *nats_port, *more]),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert self._up.stdout is not None
        async with asyncio.timeout(2 * WAIT):
            async for line in self._up.stdout:
                if line.startswith(b"ready "):
                    _, self.ws, self.http, self.nats = line.decode().split()
                    return self
        raise AssertionError(f"it did not start: {(await self._stderr()).decode()}")

    async def _stderr(self) -> bytes:
        assert self._up is not None and self._up.stderr is not None
        return await self._up.stderr.read()

    @property
    def pid(self) -> int:
        assert self._up is not None
        return self._up.pid

    async def stop(self) -> int:
        assert self._up is not None
        if self._up.returncode is None:
            self._up.send_signal(signal.SIGTERM)
        async with asyncio.timeout(WAIT):
            _, _ = await asyncio.gather(self._up.wait(), self._stderr())
        assert self._up.returncode is not None
        return self._up.returncode

    def children(self, name: str) -> list[int]:
        """The process ids below us whose command line holds a word."""
        return [pid for pid in descendants(self.pid) if name in self.command_line(pid)]

    def command_line(self, pid: int) -> str:
        """Empty for a process that has ended."""
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            return ""

    def kill(self, name: str) -> int:
        """kill -9; how many that were."""
        return sum(slain(pid) for pid in self.children(name))

    def kill_one(self, name: str) -> None:
        """kill -9 of the first of them."""
        assert slain(self.children(name)[0])

    async def kill_everything(self) -> None:
        """kill -9 of every process of the platform at once."""
        assert self._up is not None
        for pid in [*descendants(self.pid), self.pid]:
            slain(pid)
        async with asyncio.timeout(WAIT):
            await self._up.wait()

    async def run(self, *words: str) -> tuple[int, str, str]:
        """A command of the CLI: exit code, standard output, standard error."""
        command = await asyncio.create_subprocess_exec(
            BACKCHANNEL,
            *words,
            *("--data", str(self.data)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(2 * WAIT):
            out, err = await command.communicate()
        assert command.returncode is not None
        return command.returncode, out.decode(), err.decode()

    async def json(self, *words: str) -> Any:
        code, out, err = await self.run(*words, "--json")
        assert code == 0, err
        return json.loads(out)

    async def token(self, agent: str, *more: str) -> str:
        """A token as the CLI makes it; its bearer is known from then on."""
        code, out, err = await self.run("token", "create", agent, *more)
        assert code == 0, err
        return out.strip()

    def signed(self, name: str, **claims: Any) -> str:
        """A token signed here with the platform's key; its bearer is known from its first connection on."""
        now = int(time.time())
        known = {
            "sub": name,
            "entity_id": name,
            "aud": "backchannel",
            "iat": now,
            "exp": now + 3600,
            "jti": secrets.token_hex(8),
        }
        return jwt.encode(known | claims, Home(self.data).token_key(), algorithm="HS256")

    async def agent(self, name: str, **hello: Any) -> Raw:
        """A connected agent that has been welcomed and is live."""
        return await self.enter(self.signed(name), **hello)

    async def enter(self, token: str, **hello: Any) -> Raw:
        """The same with a token one has."""
        raw = await self.connect(token)
        await raw.hello(**hello)
        return raw

    async def connect(self, token: str, **headers: str) -> Raw:
        """A connection that has not said hello yet; waits while the platform says it is starting (503)."""
        async with asyncio.timeout(WAIT):
            while True:
                try:
                    raw = await Raw.open(self.ws, token, **headers)
                except InvalidStatus as refusal:
                    if refusal.response.status_code != 503:
                        raise
                    await asyncio.sleep(float(refusal.response.headers["Retry-After"]) / 10)
                else:
                    self._agents.append(raw)
                    return raw

    async def part(self) -> None:
        """Close every connection that was opened through us."""
        agents, self._agents = self._agents, []
        await asyncio.gather(*(agent.close() for agent in agents), return_exceptions=True)


def place(frame: Frame) -> str:
    """Where an event lies: its cursor, without what it says besides when the event overtook others."""
    return ".".join(frame["cursor"].split(".")[:2])


def position(frame: Frame) -> int:
    """The same as a number."""
    return int(frame["cursor"].split(".")[1])


def slain(pid: int) -> bool:
    """kill -9; False where there is no such process any more."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    found = [int(child) for child in children]
    return [below for child in found for below in (child, *descendants(child))]


def bounded(socket: ClientConnection) -> ClientConnection:
    """Have the kernel take no more than TAKEN while nobody reads."""
    beneath = socket.transport.get_extra_info("socket")
    beneath.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, TAKEN)
    return socket


class Raw:
    """A client that sends frames and keeps what comes, in order. It reads on whether anybody asks or not."""

    def __init__(self, socket: ClientConnection, token: str) -> None:
        self.socket = socket
        self.token = token
        self.welcome: Frame = {}
        self.frames: list[Frame] = []
        self.coalesced: list[Frame] = []
        self.together = 0
        self._unfound: list[Frame] = []

    @classmethod
    async def open(cls, url: str, token: str, **headers: str) -> Raw:
        socket = await connect(
            url,
            additional_headers={"X-Memory-Auth": token, **headers},
            max_size=None,
            max_queue=None,
            compression=None,
            ping_interval=None,
            open_timeout=WAIT,
            close_timeout=1,
        )
        return cls(bounded(socket), token)

    def stop_reading(self) -> None:
        """Take nothing more from the kernel, nor answer pings."""
        self.socket.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's transports can

    def read_on(self) -> None:
        self.socket.transport.resume_reading()  # type: ignore[attr-defined]

    async def hello(self, **fields: Any) -> Frame:
        await self.send_raw({"type": "hello", **fields})
        self.welcome = await self.until("welcome")
        await self.until("live")
        return self.welcome

    async def send_raw(self, frame: Any) -> None:
        await self.socket.send(frame if isinstance(frame, str | bytes) else json.dumps(frame))

    async def send(self, kind: str, **fields: Any) -> Frame:
        """Send a message; what was sent."""
        frame = content(kind, **fields)
        await self.send_raw(frame)
        return frame

    async def ask(self, kind: str, **fields: Any) -> Frame:
        """Send, and wait for the frame at the door: accepted, duplicate_ack or error."""
        sent = await self.send(kind, **fields)
        return await self.answer_to(sent["message_id"])

    async def answer_to(self, message_id: str) -> Frame:
        """What the door said of a message."""

        def wanted(frame: Frame) -> bool:
            match frame["type"]:
                case "accepted" | "error":
                    return bool(frame["in_reply_to"] == message_id)
                case "duplicate_ack":
                    return bool(frame["original_message_id"] == message_id)
            return False

        return await self.find(wanted)

    async def result(self, kind: str, **fields: Any) -> Frame:
        """Send a command or a query, and wait for its result."""
        sent = await self.send(kind, **fields)
        return await self.find(
            lambda frame: frame["type"] in ("result", "error") and frame["in_reply_to"] == sent["message_id"]
        )

    async def query(self, name: str, fits: Callable[[Frame], object] = bool, **params: Any) -> Frame:
        """Ask until the answer fits; a refusal that may be tried again is tried again when it says."""

        async def look() -> Frame:
            answer = await self.result("query", query=name, params=params)
            if answer["type"] != "error":
                return answer
            assert answer["retryable"], answer
            await asyncio.sleep(answer["retry_after"] or 0)
            return {}

        return await eventually(look, lambda answer: answer and fits(answer))

    async def result_of(self, message_id: str) -> Frame:
        """The result of a command that was sent before, perhaps over another connection."""
        return await self.find(lambda told: told["type"] == "result" and told["in_reply_to"] == message_id)

    async def until(self, kind: str) -> Frame:
        return await self.find(lambda frame: frame["type"] == kind)

    async def find(self, wanted: Callable[[Frame], bool]) -> Frame:
        """The first frame or event that is wanted and has not been found before; waits for it."""
        async with asyncio.timeout(WAIT):
            while True:
                for frame in self._unfound:
                    if wanted(frame):
                        self._unfound.remove(frame)
                        return frame
                known = len(self.frames)
                self._keep(json.loads(await self.socket.recv()))
                self._unfound.extend(self.frames[known:])

    async def frame(self) -> Frame:
        """The next frame as it comes, kept like any other."""
        async with asyncio.timeout(WAIT):
            frame: Frame = json.loads(await self.socket.recv())
        known = len(self.frames)
        self._keep(frame)
        self._unfound.extend(self.frames[known:])
        return frame

    def _keep(self, frame: Frame) -> None:
        if frame["type"] in ("catch_up", "batch") and "infodump" not in frame:
            self.together += frame["type"] == "batch"
            self.frames.extend(frame["events"])
        elif frame["type"] == "coalesced_update":
            self.coalesced.append(frame)
            self.frames.extend(frame["updates"])
        else:
            self.frames.append(frame)

    def events(self, kind: str) -> list[Frame]:
        """Every event of a kind that has come so far."""
        return [frame for frame in self.frames if frame["type"] == kind and "cursor" in frame]

    async def closed(self) -> int:
        """Wait for the end; the close code."""
        async with asyncio.timeout(WAIT):
            await self.drain()
        assert self.socket.close_code is not None
        return self.socket.close_code

    async def drain(self) -> None:
        """Keep what still comes until the connection ends."""
        with contextlib.suppress(ConnectionClosed):
            async for frame in self.socket:
                self._keep(json.loads(frame))

    async def settled(self) -> None:
        """Everything that lay in the log before this call has come, if it was for us."""
        sent = await self.send("memory_update", context_id="main", exchange={"content": "marker"})
        await self.find(lambda frame: frame.get("message_id") == sent["message_id"] and "cursor" in frame)

    async def close(self) -> None:
        await self.socket.close()
