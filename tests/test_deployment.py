"""The roles of the container files, started with their own commands, without a container engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import ssl
import sys
import urllib.request
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nats
import pytest

from backchannel.tls import trusting
from tests.ports import free_ports
from tests.promises.certificate import write_pair
from tests.promises.running import BACKCHANNEL
from tests.test_compose import FILES, TLS, together

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = {
    "backchannel": BACKCHANNEL,
    "python": sys.executable,
    "nats-server": str(Path(sys.executable).with_name("nats-server")),
}
SINGLE, CLUSTER = FILES
PATIENCE = 60.0

pytestmark = pytest.mark.timeout(240)


@dataclass
class Machine:
    """What a container engine would do for one compose file, on the ports and paths of this test."""

    path: Path
    folder: Path
    over: Path | None = None
    # What is written in the files, and what stands for it here.
    here: dict[str, str] = field(default_factory=dict)
    running: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    @property
    def services(self) -> dict[str, dict[str, Any]]:
        return together(self.path, self.over)

    def local(self, text: str) -> str:
        """A word or value of the file as it must be here; a port stands alone, all else may be a part."""
        if text in self.here:
            return self.here[text]
        for written, actual in self.here.items():
            if not written.isdecimal():
                text = text.replace(written, actual)
        return text

    def environment(self, name: str) -> dict[str, str]:
        wanted: Mapping[str, str] = self.services[name]["environment"]
        return {**os.environ, **{key: self.local(value) for key, value in wanted.items()}}

    def command(self, name: str) -> list[str]:
        program, *words = self.services[name]["command"]
        return [PROGRAMS[program], *(self.local(word) for word in words)]

    async def start(
        self, name: str, *, environment_of: str, command: list[str]
    ) -> asyncio.subprocess.Process:
        with (self.folder / f"{name}.log").open("w") as log:
            child = await asyncio.create_subprocess_exec(
                *command, env=self.environment(environment_of), stdout=log, stderr=log, cwd=self.folder
            )
        self.running[name] = child
        return child

    async def start_nats(self, name: str, port: int, monitor: int, replaced: Mapping[str, str]) -> None:
        """A server with the shipped configuration; only addresses and the store differ."""
        folder = self.folder / name
        folder.mkdir()
        for source in [
            *(ROOT / "nats").glob("*.conf"),
            ROOT / "nats" / "native.inc",
            *(self.folder / "secrets").glob("*.conf"),
        ]:
            text = source.read_text()
            for written, actual in {
                **replaced,
                "0.0.0.0": "127.0.0.1",
                '"/store"': f'"{folder}/store"',
            }.items():
                text = text.replace(written, actual)
            (folder / source.name).write_text(text)
        config, *flags = self.services[name]["command"][1:]
        command = [
            PROGRAMS["nats-server"],
            "--config",
            str(folder / Path(config).name),
            *(self.local(flag) for flag in flags),
            "-p",
            str(port),
            "-m",
            str(monitor),
        ]
        await self.start(name, environment_of=name, command=command)

    async def run(self, name: str, *words: str) -> str:
        """One command to its end in the environment of a service."""
        child = await asyncio.create_subprocess_exec(
            *(words or self.command(name)),
            env=self.environment(name),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self.folder,
        )
        out, _ = await asyncio.wait_for(child.communicate(), PATIENCE)
        assert child.returncode == 0, f"{self.said(name)}\n{out.decode()}"
        return out.decode().strip()

    async def stop(self) -> None:
        for child in self.running.values():
            if child.returncode is None:
                child.terminate()
        for child in self.running.values():
            await asyncio.wait_for(child.wait(), PATIENCE)

    def said(self, name: str) -> str:
        log = self.folder / f"{name}.log"
        return log.read_text() if log.exists() else ""


@contextlib.asynccontextmanager
async def machine(path: Path, folder: Path, over: Path | None = None) -> AsyncIterator[Machine]:
    secrets = folder / "secrets"
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "deploy" / "new_secrets.py"),
        str(secrets),
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await child.wait() == 0
    here = {
        "/run/secrets/token-key": str(secrets / "token.key"),
        "/run/secrets/callout-key": str(secrets / "callout.key"),
        "/run/secrets/tls-cert": str(secrets / "tls-cert.pem"),
        "/run/secrets/tls-key": str(secrets / "tls-key.pem"),
        "/run/secrets": str(secrets),
    }
    engine = Machine(path, folder, over, {**here, "0.0.0.0": "127.0.0.1"})
    try:
        yield engine
    finally:
        await engine.stop()


async def healthy(engine: Machine, port: int) -> None:
    """What the image's HEALTHCHECK asks, as often as an engine would, until it says yes."""
    environment = {**engine.environment("bridge"), "BACKCHANNEL_PORT": str(port)}
    async with asyncio.timeout(PATIENCE):
        while True:
            child = await asyncio.create_subprocess_exec(
                BACKCHANNEL, "healthcheck", env=environment, stderr=asyncio.subprocess.DEVNULL
            )
            if await child.wait() == 0:
                return


async def nats_healthy(engine: Machine, name: str, monitor: int) -> None:
    """The health check of a NATS service, asked from here instead of by wget in its container."""
    url = engine.services[name]["healthcheck"]["test"][-1].replace(":8222", f":{monitor}")

    def asked() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(asked):  # noqa: ASYNC110 - an engine polls as well
            await asyncio.sleep(0.1)


def store(port: int, token: str, content: str, trust: ssl.SSLContext | None = None) -> dict[str, Any]:
    """One memory update over HTTP, as a service without a WebSocket sends it."""
    message = {
        "type": "memory_update",
        "message_id": str(uuid.uuid4()),
        "timestamp": datetime.now(UTC).isoformat(),
        "context_id": "main",
        "exchange": {"content": content},
        "priority": "normal",
    }
    request = urllib.request.Request(
        f"{'https' if trust else 'http'}://127.0.0.1:{port}/store",
        data=json.dumps(message).encode(),
        headers={"X-Memory-Auth": token, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE, context=trust) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def password_of(engine: Machine, user: str) -> str:
    return (engine.folder / "secrets" / f"{user}-password").read_text().strip()


STREAMS = tuple(
    f"$JS.API.STREAM.{action}.{stream}"
    for action in ("CREATE", "UPDATE", "DELETE", "RESTORE", "PURGE")
    for stream in ("BC_AUDIT", "BC_EVENTS_main", "KV_BC_rights")
)
NOT_FOR = {
    "bridge": (
        *STREAMS,
        "$JS.API.STREAM.PURGE.BC_COMMANDS",
        "$JS.ACK.BC_COMMANDS.sidebar.1.1.1.1.1",
        "$KV.BC_config.curator.ack_timeout",
        "$KV.BC_rights.main.ada",
        "$KV.BC_sidebars.main.x",
        "bc.main.evt.ctx.x.normal.life",
        "bc.main.evt.inbox.ada.high.decision",
        "bc.main.evt.inbox.ada.normal.result",
        "bc.main.timer.order.claim.x.ada",
        "bc.main.tool.harmless",
        "bc.main.operator.deed",
        "bc.main.svc.grant.redeem",
        "native.to._INBOX.x",
        "$SYS.REQ.SERVER.x.KICK",
    ),
    "handlers": (
        *(one for one in STREAMS if one != "$JS.API.STREAM.PURGE.BC_EVENTS_main"),
        "$KV.BC_config.curator.ack_timeout",
        "$KV.BC_rights.main.ada",
        "$KV.BC_seats.main.ada",
        "$KV.BC_sessions.main.ada.primary",
        "bc.main.bridge.alarm",
    ),
}
NOT_HEARD_BY = {
    "bridge": ("native.>", "$SYS.REQ.USER.AUTH", "bc.*.tool.*", "bc.>"),
    "handlers": ("bc.*.tool.*",),
}


async def refused(engine: Machine, url: str, user: str) -> None:
    """What a login may not do is refused by the server, each by name."""
    complaints: asyncio.Queue[str] = asyncio.Queue()

    async def complained(problem: Exception) -> None:
        complaints.put_nowait(str(problem).lower())

    client = await nats.connect(url, user=user, password=password_of(engine, user), error_cb=complained)
    try:
        for subject in NOT_FOR[user]:
            await client.publish(subject, b"{}")
            said = await asyncio.wait_for(complaints.get(), PATIENCE)
            assert "permissions violation for publish" in said and subject.lower() in said
        for subject in NOT_HEARD_BY[user]:
            await client.subscribe(subject)
            said = await asyncio.wait_for(complaints.get(), PATIENCE)
            assert "permissions violation for subscription" in said and subject.lower() in said
    finally:
        await client.close()


async def native_store(url: str, token: str, trust: ssl.SSLContext | None = None) -> dict[str, Any]:
    """One memory update by an agent that speaks NATS itself; what JetStream answers."""
    message = {
        "type": "memory_update",
        "message_id": str(uuid.uuid4()),
        "timestamp": datetime.now(UTC).isoformat(),
        "context_id": "main",
        "exchange": {"content": "natively"},
        "priority": "normal",
    }
    headers = {"Nats-Msg-Id": f"ada:{message['message_id']}"}
    secured: dict[str, Any] = {} if trust is None else {"tls": trust}
    client = await nats.connect(url, user="ada", password=token, inbox_prefix="_INBOX_ada", **secured)
    try:
        subject, payload = "bc.main.cmd.normal.ada.memory_update", json.dumps(message).encode()
        answer = await client.request(subject, payload, timeout=PATIENCE, headers=headers)
        told: dict[str, Any] = json.loads(answer.data)
        return told
    finally:
        await client.close()


async def deploy(engine: Machine, ports: list[int]) -> None:
    """Everything of the compose file, in its order."""
    nats, monitor, port = ports
    for scheme in ("nats", "tls"):
        engine.here[f"{scheme}://nats:4222"] = f"{scheme}://127.0.0.1:{nats}"
    engine.here["8002"] = str(port)
    await engine.start_nats("nats", nats, monitor, {})
    await nats_healthy(engine, "nats", monitor)
    await engine.run("topology")
    await engine.start("bridge", environment_of="bridge", command=engine.command("bridge"))
    await engine.start("handlers", environment_of="handlers", command=engine.command("handlers"))
    await healthy(engine, port)


async def test_the_commands_of_the_compose_file_make_a_working_platform(tmp_path: Path) -> None:
    ports = free_ports(3)
    url = f"nats://127.0.0.1:{ports[0]}"
    async with machine(SINGLE, tmp_path) as engine:
        await deploy(engine, ports)
        token = await engine.run("topology", BACKCHANNEL, "token", "create", "ada")
        answer = await asyncio.to_thread(store, ports[2], token, "the containers' commands work")
        assert answer["status"] == "full"
        assert (await native_store(url, token))["stream"] == "BC_COMMANDS"
        assert "Violation" not in engine.said("nats"), "a part of the platform may not do what it must"
        for user in NOT_FOR:
            await refused(engine, url, user)
        # Applying the topology again changes nothing and breaks nothing.
        await engine.run("topology")


async def test_with_the_file_for_tls_both_doors_speak_it_and_nothing_else(tmp_path: Path) -> None:
    ports = free_ports(3)
    shown, key = write_pair(tmp_path / "made", "platform.example")
    async with machine(SINGLE, tmp_path, TLS) as engine:
        shutil.copy(shown, tmp_path / "secrets" / "tls-cert.pem")
        shutil.copy(key, tmp_path / "secrets" / "tls-key.pem")
        await deploy(engine, ports)
        token = await engine.run("topology", BACKCHANNEL, "token", "create", "ada")
        trust = trusting(shown)
        answer = await asyncio.to_thread(store, ports[2], token, "encrypted", trust)
        assert answer["status"] == "full"
        told = await native_store(f"tls://127.0.0.1:{ports[0]}", token, trust)
        assert told["stream"] == "BC_COMMANDS"
        with pytest.raises(OSError):
            await asyncio.to_thread(store, ports[2], token, "in the clear")
        reader, writer = await asyncio.open_connection("127.0.0.1", ports[0])
        async with asyncio.timeout(PATIENCE):
            greeting = json.loads((await reader.readline()).removeprefix(b"INFO "))
        writer.close()
        assert greeting["tls_required"] is True


async def test_a_cluster_of_three_loses_one_server_and_no_message(tmp_path: Path) -> None:
    ports = free_ports(9)
    clients, monitors, routes = ports[:3], ports[3:6], ports[6:]
    names = ["nats-1", "nats-2", "nats-3"]
    (port,) = free_ports(1)
    async with machine(CLUSTER, tmp_path) as engine:
        for name, client in zip(names, clients, strict=True):
            engine.here[f"nats://{name}:4222"] = f"nats://127.0.0.1:{client}"
        engine.here["8002"] = str(port)
        for number, name in enumerate(names):
            replaced = {
                f"{peer}:6222": f"127.0.0.1:{route}" for peer, route in zip(names, routes, strict=True)
            }
            replaced["0.0.0.0:6222"] = f"127.0.0.1:{routes[number]}"
            await engine.start_nats(name, clients[number], monitors[number], replaced)
        for name, monitor in zip(names, monitors, strict=True):
            await nats_healthy(engine, name, monitor)
        await engine.run("topology")
        await engine.start("bridge", environment_of="bridge", command=engine.command("bridge"))
        await engine.start("handlers", environment_of="handlers", command=engine.command("handlers"))
        await healthy(engine, port)
        token = await engine.run("topology", BACKCHANNEL, "token", "create", "ada")

        before = [await asyncio.to_thread(store, port, token, f"before {number}") for number in range(10)]
        engine.running["nats-1"].send_signal(signal.SIGKILL)
        await engine.running["nats-1"].wait()
        after = [await asyncio.to_thread(store, port, token, f"after {number}") for number in range(10)]

        kept = await engine.run("topology", BACKCHANNEL, "streams", "info", "BC_EVENTS_main", "--json")
    assert len({answer["cursor"] for answer in before + after}) == 20
    assert '"num_replicas": 3' in kept or '"replicas": 3' in kept
