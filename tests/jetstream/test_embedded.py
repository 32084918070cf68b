"""The embedded nats-server: usable when started, and one clear sentence when it cannot be."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from backchannel.errors import Unavailable
from backchannel.jetstream.answer import api
from backchannel.jetstream.binary import Binary, find
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.embedded import Server, ServerFailed, environment, new_logins
from backchannel.jetstream.folder import configuration
from backchannel.jetstream.nkey import Nkey
from backchannel.jetstream.publish import Publisher
from backchannel.jetstream.read import describe
from backchannel.jetstream.topology import provision
from tests.jetstream.faults import STREAM, crash, eventually, program_of, said, started

ORPHAN = """
import asyncio, sys
from backchannel.jetstream.embedded import Server
async def main():
    server = Server(sys.argv[1])
    await server.start()
    print(server.pid, flush=True)
    await server.wait()
asyncio.run(main())
"""


@pytest.mark.parametrize("durability", ["normal", "strict"])
def test_nats_server_accepts_its_configuration(tmp_path: Path, durability: str) -> None:
    values = environment(
        listen="127.0.0.1:-1",
        store=tmp_path / "with a blank",
        log=tmp_path / "log",
        logins=new_logins(),
        durability=durability,
        issuer=Nkey(bytes(32)).public,
    )
    answer = subprocess.run(
        [str(find().path), "-t", "-c", str(configuration() / "embedded.conf")],
        env={**os.environ, **values},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert answer.returncode == 0, answer.stderr


async def test_jetstream_answers_as_soon_as_start_returns(nats_server: Server) -> None:
    async with await Connection.open(nats_server.address(), name="test") as connection:
        assert "memory" in await api(connection, "INFO")


async def test_what_is_stored_and_the_port_survive_kill_9(nats_server: Server, log: Connection) -> None:
    publisher = Publisher(log)
    for number in range(50):
        await publisher.store(said(number))
    before = nats_server.url
    await crash(nats_server)
    assert nats_server.url == before
    assert (await describe(log, STREAM)).messages == 50


async def test_the_end_of_the_server_is_noticed(tmp_path: Path) -> None:
    server = Server(tmp_path)
    await server.start()
    server.kill()
    assert await server.wait() == -9
    assert not server.running
    await server.restart()
    assert server.running
    await server.stop()
    assert await server.wait() == 0


async def test_a_password_of_digits_stays_a_password(tmp_path: Path) -> None:
    logins = {**new_logins(), "platform": ("12", "3456"), "operator": ("operator", '-"$x\\ {#')}
    server = Server(tmp_path, logins=logins)
    await server.start()
    try:
        for role in ("platform", "operator"):
            async with await Connection.open(server.address(role), name="test") as connection:  # type: ignore[arg-type]
                assert connection.up
    finally:
        await server.stop()


async def test_the_operator_cannot_touch_the_audit_trail(nats_server: Server, log: Connection) -> None:
    async with await Connection.open(nats_server.address("operator"), name="test") as operator:
        assert (await describe(operator, "BC_AUDIT")).messages == 0
        for endpoint in ("STREAM.DELETE.BC_AUDIT", "STREAM.UPDATE.BC_AUDIT"):
            with pytest.raises(Unavailable):
                await operator.request(f"$JS.API.{endpoint}", b"{}", timeout=0.3)
        await operator.send("bc.main.audit.config.mallory", b"forged")
        await operator.request("$JS.API.INFO")
    assert (await describe(log, "BC_AUDIT")).messages == 0


async def test_the_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    with started([sys.executable, "-c", ORPHAN, str(tmp_path)]) as parent:
        assert parent.stdout is not None
        server = int(parent.stdout.readline())
        assert program_of(server) == "nats-server"
        parent.kill()
        await eventually(lambda: program_of(server) == "")


async def test_an_inherited_lock_is_held_as_long_as_the_server_lives(tmp_path: Path) -> None:
    ours = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(ours, fcntl.LOCK_EX)
    server = Server(tmp_path / "store", fds=(ours,))
    await server.start()
    os.close(ours)
    other = os.open(tmp_path / "lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    await server.stop()
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


async def test_a_taken_port_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerFailed, match=f"Port {port} on 127.0.0.1 is taken by another program"):
            await Server(tmp_path, port=port).start()


async def test_a_store_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServerFailed, match=r"cannot be written .*choose another data folder"):
        await Server(tmp_path / "file" / "store").start()


async def test_a_server_that_dies_at_its_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    program = tmp_path / "nats-server"
    program.write_text("#!/bin/sh\necho 'the disk is on fire' >&2\nexit 3\n", "utf-8")
    program.chmod(0o755)
    with pytest.raises(ServerFailed, match=r"ended at its start \(the disk is on fire\)"):
        await Server(tmp_path / "store", program=Binary(program, (2, 15, 1))).start()


async def test_a_server_that_never_gets_ready_is_ended(tmp_path: Path) -> None:
    program = tmp_path / "nats-server"
    program.write_text("#!/bin/sh\nexec sleep 600\n", "utf-8")
    program.chmod(0o755)
    server = Server(tmp_path / "store", program=Binary(program, (2, 15, 1)))
    with pytest.raises(ServerFailed, match=r"was not ready within 0\.5 s"):
        await server.start(wait=0.5)
    assert not server.running


async def test_two_groups_have_a_log_each(connection: Connection) -> None:
    await provision(connection, ["red", "blue"])
    assert (await describe(connection, "BC_EVENTS_red")).epoch
    assert (await describe(connection, "BC_EVENTS_blue")).epoch
