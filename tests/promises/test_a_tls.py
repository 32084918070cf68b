"""With a certificate both doors speak TLS and nothing else; a bad one is said before anything starts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import ssl
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidMessage

from backchannel.client import Agent
from backchannel.errors import Unavailable
from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.leash import leashed
from tests.promises.certificate import write_pair
from tests.promises.native import Native
from tests.promises.running import WAIT, Platform

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAME = "localhost"
"""The data folder leads to 127.0.0.1, which is not the name."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_pair(tmp_path_factory.mktemp("certificate"), NAME)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def platform(
    pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Platform]:
    shown, key = pair
    running = Platform(tmp_path_factory.mktemp("platform"))
    await running.start("--tls-cert", str(shown), "--tls-key", str(key))
    yield running
    assert await running.stop() == 0


def trust(shown: Path) -> ssl.SSLContext:
    """As any client anywhere: this certificate, under its name."""
    return ssl.create_default_context(cafile=str(shown))


def place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname and parts.port
    return parts.hostname, parts.port


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the end, which may be an abrupt one."""
    with contextlib.suppress(ConnectionError):
        return await reader.read()
    return b""


async def test_it_says_where_tls_is_spoken(platform: Platform) -> None:
    assert platform.ws.startswith("wss://")
    assert platform.http.startswith("https://")
    assert platform.nats.startswith("tls://")
    told = json.loads((platform.data / "platform.json").read_text())
    assert [told[name] for name in ("ws", "http", "nats")] == [platform.ws, platform.http, platform.nats]
    assert stat.S_IMODE((platform.data / "secrets" / "tls.key").stat().st_mode) == 0o600


async def test_agents_talk_over_tls(platform: Platform) -> None:
    async with (
        Agent.connect("ada", data=platform.data) as ada,
        Agent.connect("bob", data=platform.data) as bob,
        ada.sidebar("compare notes", with_=["bob"]) as room,
        asyncio.timeout(WAIT),
    ):
        await room.say("x" * 900_000)
        async for message in bob.inbox():
            if len(str(getattr(message, "content", ""))) == 900_000:
                break


async def test_a_client_with_the_certificate_and_nothing_else_comes_in(
    platform: Platform, pair: tuple[Path, Path]
) -> None:
    token = platform.signed("cleo")
    cleo = await connect(
        platform.ws,
        additional_headers={"Authorization": f"Bearer {token}"},
        ssl=trust(pair[0]),
        server_hostname=NAME,
    )
    await cleo.send(json.dumps({"type": "hello"}))
    assert json.loads(await cleo.recv())["type"] == "welcome"
    await cleo.close()
    assert cleo.close_code == 1000


async def test_who_does_not_know_the_certificate_does_not_trust_it(platform: Platform) -> None:
    with pytest.raises(Unavailable, match="certificate"):
        await Agent.connect("ada", url=platform.ws, token=platform.signed("ada"), patience=3.0)


async def test_another_certificate_is_not_believed(platform: Platform, tmp_path: Path) -> None:
    """Not even one for the same name."""
    other, _ = write_pair(tmp_path, NAME)
    user, password = Home(platform.data).nats_login("operator")
    with pytest.raises(Unavailable, match=r"(?i)certificate"):
        await Connection.open(Address(platform.nats, user, password, str(other)), name="test", wait=3.0)


async def test_whoever_speaks_without_tls_is_hung_up_on(platform: Platform) -> None:
    with pytest.raises((InvalidMessage, ConnectionError)):
        await connect(platform.ws.replace("wss:", "ws:"), open_timeout=WAIT)
    reader, writer = await asyncio.open_connection(*place(platform.http))
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(WAIT):
        assert b"HTTP/" not in await rest(reader)
    writer.close()
    code, _, err = await platform.run("healthcheck")
    assert code == 0, err


async def test_tls_older_than_1_2_is_refused(platform: Platform, pair: tuple[Path, Path]) -> None:
    old = trust(pair[0])
    old.check_hostname = False
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection(*place(platform.http), ssl=old)


async def test_garbage_over_tls_is_answered_and_ended(platform: Platform, pair: tuple[Path, Path]) -> None:
    reader, writer = await asyncio.open_connection(
        *place(platform.http), ssl=trust(pair[0]), server_hostname=NAME
    )
    writer.write(b"\x00\x01\x02")
    async with asyncio.timeout(WAIT):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"over TLS" in answer


async def test_a_refusal_is_said_in_words_over_tls(platform: Platform, pair: tuple[Path, Path]) -> None:
    reader, writer = await asyncio.open_connection(
        *place(platform.http), ssl=trust(pair[0]), server_hostname=NAME
    )
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    async with asyncio.timeout(WAIT):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert answer.endswith(b"This needs a valid token.\n")


async def test_commands_find_their_way_over_tls(platform: Platform) -> None:
    assert (await platform.json("status"))["status"] == "healthy"
    code, _, err = await platform.run("status")
    assert (code, err) == (0, "")
    assert (await platform.run("streams", "ls"))[0] == 0
    code, out, err = await platform.run("doctor")
    assert f"{platform.http} is healthy" in out + err
    assert code == 0, out + err


async def test_a_command_with_url_believes_what_the_system_believes(
    platform: Platform, pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here SSL_CERT_FILE says so, and the name must be that of the certificate."""
    (tmp_path / "token").write_text(platform.signed("dan"))
    url = platform.ws.replace("127.0.0.1", NAME)
    words = ("agents", "ls", "--url", url, "--token-file", str(tmp_path / "token"))
    code, _, err = await platform.run(*words)
    assert code == 5
    assert "SSL_CERT_FILE" in err
    monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))
    code, _, err = await platform.run(*words)
    assert code == 0, err


async def test_native_agents_talk_over_tls(platform: Platform, pair: tuple[Path, Path]) -> None:
    token = platform.signed("nora")
    nora = await Native.enter(platform.nats, "nora", token, tls=trust(pair[0]), tls_hostname=NAME)
    said = await nora.say("memory_update", context_id="main", exchange={"content": "over TLS"})
    assert (await nora.hears(said["message_id"]))["type"] == "memory_update"
    await nora.close()


async def test_a_native_agent_without_tls_is_refused(platform: Platform) -> None:
    """Its token is said to nobody: the server ends what does not begin with a handshake."""
    reader, writer = await asyncio.open_connection(*place(platform.nats))
    async with asyncio.timeout(WAIT):
        told = await reader.readline()
        assert json.loads(told.removeprefix(b"INFO "))["tls_required"] is True
        writer.write(b'CONNECT {"verbose":false,"user":"nora","pass":"x"}\r\nPING\r\n')
        assert b"PONG" not in await rest(reader)
    writer.close()
    with pytest.raises(ssl.SSLCertVerificationError):  # the library begins TLS, and knows no such certificate
        await Native.enter(platform.nats, "nora", platform.signed("nora"))


async def test_a_login_is_never_said_in_the_clear_to_a_server_that_ought_to_speak_tls() -> None:
    heard = bytearray()

    async def pretends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.11.0","max_payload":1048576,"headers":true}\r\n')
        heard.extend(await reader.read())
        writer.close()

    server = await asyncio.start_server(pretends, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable, match="TLS"):
            await Connection.open(Address(f"tls://127.0.0.1:{port}", "me", "secret"), name="test", wait=1.0)
    assert b"secret" not in heard


async def test_what_dies_comes_back_with_tls(platform: Platform) -> None:
    assert platform.kill("-m bridge") == 1
    async with Agent.connect("eve", data=platform.data, patience=WAIT) as eve:
        assert platform.kill("nats-server") >= 1
        async with asyncio.timeout(WAIT):
            await eve.remember("still here")


async def bridge_alone(platform: Platform, *fds: int, **env: str) -> asyncio.subprocess.Process:
    """A second bridge for the same platform."""
    return await asyncio.create_subprocess_exec(
        *leashed([sys.executable, "-P", "-m", "bridge", "--data", str(platform.data)]),
        *(("--fd", str(fds[0])) if fds else ("--port", "0")),
        pass_fds=fds,
        env={**os.environ, **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_a_bridge_alone_speaks_tls_by_its_variables(
    platform: Platform, pair: tuple[Path, Path]
) -> None:
    shown, key = map(str, pair)
    with socket.create_server(("127.0.0.1", 0)) as door:
        os.set_inheritable(door.fileno(), True)
        bridge = await bridge_alone(
            platform, door.fileno(), BACKCHANNEL_TLS_CERT=shown, BACKCHANNEL_TLS_KEY=key
        )
        assert bridge.stdout is not None
        async with asyncio.timeout(WAIT):
            assert await bridge.stdout.readline() == b"ready\n"
        url = f"wss://{NAME}:{door.getsockname()[1]}/ws"
        token = platform.signed("fay")
        async with Agent.connect("fay", url=url, token=token, ssl=trust(pair[0]), patience=WAIT) as fay:
            await fay.remember("through another door")
        bridge.terminate()
        async with asyncio.timeout(WAIT):
            _, said = await bridge.communicate()
        assert bridge.returncode == 0, said


async def test_a_bridge_alone_refuses_half_a_pair(platform: Platform, pair: tuple[Path, Path]) -> None:
    bridge = await bridge_alone(platform, BACKCHANNEL_TLS_CERT=str(pair[0]))
    async with asyncio.timeout(WAIT):
        out, err = await bridge.communicate()
    assert (bridge.returncode, out) == (2, b"")
    assert b"BACKCHANNEL_TLS_KEY" in err


async def test_a_bad_certificate_is_said_before_anything_starts(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    _, key = write_pair(tmp_path / "one")
    stranger, _ = write_pair(tmp_path / "two")
    code, out, err = await Platform(folder).run(
        *("up", "--port", "0", "--nats-port", "0", "--tls-cert", str(stranger), "--tls-key", str(key))
    )
    assert code == 1
    assert not out
    assert f"{key} is not the key of the certificate {stranger}" in err
    assert sorted(os.listdir(tmp_path)) == ["one", "two"], "nothing is half started"


@pytest.mark.parametrize(("host", "status"), [(NAME, 200), (f"{NAME}:443", 200), ("evil.example", 421)])
async def test_a13_a_platform_answers_to_the_names_in_its_certificate(
    platform: Platform, pair: tuple[Path, Path], host: str, status: int
) -> None:
    reader, writer = await asyncio.open_connection(
        *place(platform.http), ssl=trust(pair[0]), server_hostname=NAME
    )
    writer.write(f"GET /health/live HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(WAIT):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
