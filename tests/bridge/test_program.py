"""The bridge as a program of its own, before a real nats-server: how it starts, stops and fails."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from backchannel.delivery import token as tokens
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.embedded import Server
from backchannel.jetstream.topology import provision
from tests.bridge.conftest import KEY, PATIENCE, hang_up, status_of

ROOT = Path(__file__).resolve().parents[2]
LONG = 60.0


class Program:
    """A running `python -m bridge`."""

    def __init__(self, process: asyncio.subprocess.Process, sock: socket.socket | None) -> None:
        self.process = process
        self.number = sock.getsockname()[1] if sock else 0

    async def ready(self) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(LONG):
            line = await self.process.stdout.readline()
        assert line == b"ready\n", (line, await self.ended())

    async def lives(self) -> None:
        """It listens. The test's own socket queues the request until it does."""
        assert await asyncio.wait_for(self.request("/health/live"), LONG) == (200, {"status": "live"})

    async def ended(self) -> tuple[int, str, str]:
        """Exit code, and what it still had to say on stdout and stderr."""
        async with asyncio.timeout(LONG):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), err.decode()

    async def request(self, path: str) -> tuple[int, Any]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.number)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        async with asyncio.timeout(LONG):
            answer = await reader.read()
        await hang_up(writer)
        return status_of(answer), json.loads(answer.partition(b"\r\n\r\n")[2])


Start = Callable[..., Awaitable[Program]]


def environment(folder: Path, server: Server, **changes: str) -> dict[str, str]:
    """What a deployment without a data folder says."""
    user, password = server.logins["platform"]
    (folder / "password").write_text(str(password))
    (folder / "key").write_text(base64.urlsafe_b64encode(KEY).decode())
    said = {
        "BACKCHANNEL_NATS_URL": server.url,
        "BACKCHANNEL_NATS_USER": str(user),
        "BACKCHANNEL_NATS_PASSWORD_FILE": str(folder / "password"),
        "BACKCHANNEL_TOKEN_KEY_FILE": str(folder / "key"),
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BACKCHANNEL_")}
    return inherited | said | changes


@pytest.fixture
async def start(tmp_path: Path, nats_server: Server) -> AsyncIterator[Start]:
    """Starts bridges with a socket that this test has opened, and ends what is left of them."""
    started: list[Program] = []
    sockets: list[socket.socket] = []

    async def begin(*arguments: str, sock: socket.socket | None = None, **changes: str) -> Program:
        if not arguments and sock is None:
            sock = socket.create_server(("127.0.0.1", 0))
            sockets.append(sock)
        fd = ["--fd", str(sock.fileno())] if sock else []
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "bridge", *fd, *arguments),
            cwd=ROOT,
            env=environment(tmp_path, nats_server, **changes),
            pass_fds=[sock.fileno()] if sock else [],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(Program(process, sock))
        return started[-1]

    yield begin
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            one.process.kill()
        await one.process.communicate()
    for sock in sockets:
        sock.close()


@pytest.fixture
async def furnished(connection: Connection) -> None:
    """Streams and buckets are there."""
    await provision(connection, ["main"])


def token(entity: str = "scout", lifetime: int = 3600) -> str:
    return tokens.sign(tokens.draft(entity, now=int(time.time()), lifetime=lifetime, jti=entity), KEY)


def client(program: Program, text: str | None = None) -> connect:
    headers = {"X-Memory-Auth": token() if text is None else text}
    url = f"ws://127.0.0.1:{program.number}/ws"
    return connect(url, additional_headers=headers, open_timeout=PATIENCE)


async def test_it_serves_and_stops_in_order(start: Start, furnished: None) -> None:
    program = await start()
    await program.ready()
    async with client(program) as agent:
        await agent.send('{"type":"hello"}')
        welcome = json.loads(await asyncio.wait_for(agent.recv(), PATIENCE))
        assert (welcome["type"], welcome["agent_id"]) == ("welcome", "scout")
        status, report = await program.request("/health")
        assert (status, report["status"]) in ((200, "healthy"), (206, "degraded"))  # no handlers here
        assert report["nats"] == {"up": True} and report["log"]["main"]["live"]
        program.process.send_signal(signal.SIGTERM)
        said = []
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                said.append(json.loads(await asyncio.wait_for(agent.recv(), PATIENCE)))
        assert said[-1]["type"] == "goodbye" and said[-1]["code"] == 1012
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
    code, out, err = await program.ended()
    assert (code, out) == (0, "")
    assert "Traceback" not in err


async def test_everything_that_was_accepted_before_a_stop_is_stored(
    start: Start, furnished: None, connection: Connection
) -> None:
    from uuid import uuid4

    from backchannel.jetstream.read import describe

    program = await start()
    await program.ready()
    accepted = set()
    async with client(program) as agent:
        await agent.send('{"type":"hello"}')
        for _ in range(300):
            update = {
                "type": "memory_update",
                "message_id": str(uuid4()),
                "timestamp": "2026-11-23T12:00:00Z",
                "context_id": "main",
                "exchange": {"content": "x"},
            }
            await agent.send(json.dumps(update))
        program.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(ConnectionClosed):
            while True:
                frame = json.loads(await asyncio.wait_for(agent.recv(), PATIENCE))
                if frame["type"] == "accepted":
                    accepted.add(frame["in_reply_to"])
    code, _, _ = await program.ended()
    assert code == 0
    assert (await describe(connection, "BC_EVENTS_main")).messages >= len(accepted)


async def test_a_successor_on_the_same_socket_refuses_nobody(start: Start, furnished: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        first = await start(sock=sock)
        await first.ready()
        first.process.send_signal(signal.SIGINT)
        assert (await first.ended())[0] == 0
        waiting = asyncio.create_task(first.request("/health/live"))  # while nobody serves
        second = await start(sock=sock)
        await second.ready()
        assert await asyncio.wait_for(waiting, LONG) == (200, {"status": "live"})
        async with client(second):
            pass


async def test_before_the_log_can_be_reached_it_says_that_it_is_starting(
    start: Start, furnished: None, nats_server: Server
) -> None:
    nats_server.kill()
    await nats_server.wait()
    program = await start()
    await program.lives()
    assert (await program.request("/health/ready"))[0] == 503
    status, report = await program.request("/health")
    assert (status, report["status"]) == (503, "not_serving")
    with pytest.raises(InvalidStatus) as refused:
        async with client(program):
            pass
    assert refused.value.response.status_code == 503
    assert "Retry-After" in refused.value.response.headers
    await nats_server.start()
    await program.ready()
    async with client(program):
        pass


async def test_it_can_be_stopped_before_it_serves(start: Start, nats_server: Server) -> None:
    nats_server.kill()
    await nats_server.wait()
    program = await start()
    await program.lives()
    program.process.send_signal(signal.SIGTERM)
    code, out, err = await program.ended()
    assert (code, out) == (0, "")
    assert "Traceback" not in err


async def test_its_log_is_json_and_keeps_secrets(start: Start, furnished: None, nats_server: Server) -> None:
    program = await start()
    await program.ready()
    expired = token(lifetime=-1)
    for text in (expired, "nonsense.nonsense.nonsense"):
        with pytest.raises(InvalidStatus):
            async with client(program, text):
                pass
    page = connect(
        f"ws://127.0.0.1:{program.number}/ws?token={expired}",
        origin=f"http://localhost:{program.number}",  # type: ignore[arg-type]
    )
    async with page as browser:
        await browser.send(json.dumps({"type": "hello", "token": expired}))
        with contextlib.suppress(ConnectionClosed):
            while True:
                await asyncio.wait_for(browser.recv(), PATIENCE)
    async with client(program) as agent:
        await agent.send(json.dumps({"type": "hello", "token": expired}))
        await asyncio.wait_for(agent.recv(), PATIENCE)
    program.process.send_signal(signal.SIGTERM)
    code, _, err = await program.ended()
    entries = [json.loads(line) for line in err.splitlines()]
    assert code == 0
    reasons = [one.get("reason") for one in entries if one["event"] == "turned_away"]
    assert reasons[:2] == ["expired", "bad_token"]
    for secret in (*expired.split("."), token(), str(nats_server.logins["platform"][1]), "nonsense"):
        assert len(secret) < 8 or secret not in err
    assert base64.urlsafe_b64encode(KEY).decode() not in err


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"BACKCHANNEL_NATS_URL": "", "BACKCHANNEL_DATA": "/nowhere"}, 5, "backchannel up"),
        ({"BACKCHANNEL_TOKEN_KEY_FILE": "/nowhere/key"}, 1, "/nowhere/key"),
        ({"BACKCHANNEL_MAX_CONNECTIONS": "many"}, 2, "BACKCHANNEL_MAX_CONNECTIONS must be a whole number"),
        ({"BACKCHANNEL_HEARTBEAT_SECONDS": "-1"}, 2, "BACKCHANNEL_HEARTBEAT_SECONDS must be"),
        ({"BACKCHANNEL_NATS_PASSWORD_FILE": "/etc/hostname"}, 4, "refuses the user platform"),
    ],
)
async def test_a_wrong_setting_is_one_sentence_and_an_exit_code(
    start: Start, changes: dict[str, str], code: int, words: str
) -> None:
    program = await start(**changes)
    found, out, err = await program.ended()
    last = err.splitlines()[-1]
    assert (found, out) == (code, ""), err
    assert last.startswith("error: ") and words in last
    assert "Traceback" not in err


async def test_a_port_that_is_taken_is_one_sentence(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        program = await start("--port", str(number))
        code, out, err = await program.ended()
    assert (code, out) == (1, "")
    listening = f"cannot listen on port {number} of 127.0.0.1: address already in use."
    assert err == f"error: The bridge {listening} Choose another.\n"


async def test_a_descriptor_that_is_no_socket_is_one_sentence(start: Start) -> None:
    program = await start("--fd", "77")
    code, _, err = await program.ended()
    assert code == 1
    assert err.startswith("error: The bridge cannot listen on descriptor 77") and "Traceback" not in err
