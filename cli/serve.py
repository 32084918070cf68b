"""What `up` does: opens, starts and furnishes one part after the other, and ends them in the other order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import structlog

from backchannel.errors import BackchannelError
from backchannel.home import FolderError, Home, Platform, Role, Runtime
from backchannel.jetstream.address import Address
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.size import Sizes
from backchannel.protocol.message import rfc3339
from backchannel.tls import trusting
from cli.certificate import kept
from cli.directory import take_over
from cli.failure import Failure
from cli.furnish import furnish, require_jetstream
from cli.greeting import greet
from cli.health import Health, ask_health
from cli.listen import listen, reachable
from cli.log import Journal, open_log
from cli.on_record import platform_deed
from cli.plan import Plan
from cli.server import Foreign, Nats, Own
from cli.stopping import signals, unless
from cli.supervise import Child
from cli.terminal import Terminal

log = structlog.get_logger("up")

START_PATIENCE = 60.0
NATS_PATIENCE = 5.0
HEALTH_PATIENCE = 10.0
HEALTH_POLL = 0.05
BRIDGE_PATIENCE = 5.5
HANDLERS_PATIENCE = 2.0
STOPPED_PATIENCE = 2.0


async def serve(home: Home, plan: Plan, lock: int, terminal: Terminal, env: Mapping[str, str]) -> None:
    """Run the platform until somebody asks it to stop. Failure when it cannot be started."""
    stop = asyncio.Event()
    with contextlib.closing(open_log(home.logs / "up.log")) as file:
        Journal(file)
        await _serve(Parts(home, plan, lock, terminal, env), stop)


async def _serve(parts: Parts, stop: asyncio.Event) -> None:
    with signals(stop, parts.kill):
        try:
            if await unless(stop, parts.start()):
                await parts.until(stop)
            parts.tell("stopping …")
        finally:
            await parts.stop()


class Parts:
    """The running parts of a platform: NATS server, bridges, handlers."""

    def __init__(self, home: Home, plan: Plan, lock: int, terminal: Terminal, env: Mapping[str, str]) -> None:
        self._home = home
        self._plan = plan
        self._terminal = terminal
        self._env = env
        self._keepers: list[asyncio.Task[None]] = []
        self._certificate = kept(home, plan.certificate)
        self._nats: Nats = (
            Foreign(home, plan.nats, env)
            if plan.nats
            else Own(home, plan.host, plan.nats_port, plan.durability, lock, self.tell, self._certificate)
        )
        self._door: socket.socket | None = None
        self._url: str | None = None
        self._bridges: list[Child] = []
        self._handlers: list[Child] = []

    async def start(self) -> None:
        """Everything up, in order, and said so."""
        began = asyncio.get_running_loop().time()
        home, plan = self._home, self._plan
        home.forget_platform()
        self._door = listen(plan.host, plan.port)
        os.set_inheritable(self._door.fileno(), True)
        port = self._door.getsockname()[1]
        url = await self._nats.start()
        home.token_key()
        home.set_runtime(Runtime(url, plan.groups, plan.host, port, plan.durability, self._nats.certificate))
        await self._furnish(url)
        await self._start_children(port)
        platform = self._platform(url, port)
        await self._become_healthy(platform)
        home.set_platform(platform)
        greet(self._terminal, platform, home.path, asyncio.get_running_loop().time() - began)
        if self._terminal.json:
            self._terminal.put({"ready": True, **asdict(platform)})
        else:
            self._terminal.line(f"ready {platform.ws} {platform.http} {platform.nats}")

    async def until(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. What keeps the parts alive must not end before: then its error is raised."""
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait([stopped, *self._keepers], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        for keeper in self._keepers:
            if keeper.done():
                keeper.result()

    def tell(self, message: str) -> None:
        """To the person and the journal. A closed terminal must not end what is reported on."""
        log.info("told", message=message)
        with contextlib.suppress(OSError):
            self._terminal.say(message)

    async def stop(self) -> None:
        """Bridges first, so that clients are told; then handlers; then the server with the log."""
        try:
            self._home.forget_platform()
        except (
            FolderError
        ) as problem:  # spoiled meanwhile, which must not keep the parts from ending in order
            self.tell(problem.message)
        if self._door is not None:
            self._door.close()
        await asyncio.gather(*(child.stop(BRIDGE_PATIENCE) for child in self._bridges))
        await asyncio.gather(*(child.stop(HANDLERS_PATIENCE) for child in self._handlers))
        await self._tell_stopped()
        await self._nats.stop()

    def _said(self) -> dict[str, Any]:
        return {"version": version("backchannel"), "pid": os.getpid(), "groups": list(self._plan.groups)}

    async def _tell_stopped(self) -> None:
        """In the trail, if it can be reached still: nobody waits long for that."""
        if self._url is None:
            return
        try:
            async with asyncio.timeout(STOPPED_PATIENCE):
                address = self._address(self._url, "platform")
                async with await Connection.open(address, name="up", wait=STOPPED_PATIENCE) as connection:
                    groups = self._plan.groups
                    await platform_deed(connection, self._home, groups, "stopped", self._said())
        except (BackchannelError, TimeoutError) as problem:
            log.warning("stop_not_on_record", problem=str(problem))

    def _address(self, url: str, role: Role) -> Address:
        user, password = self._home.nats_login(role)
        return Address(url, user, password, self._nats.certificate)

    def kill(self) -> None:
        """At once. What is stored stays stored."""
        for child in [*self._bridges, *self._handlers]:
            child.kill()
        self._nats.kill()

    async def _furnish(self, url: str) -> None:
        """Streams and buckets as shipped, and in them whoever was registered meanwhile."""
        address = self._address(url, "steward")
        connection = await Connection.open(address, name="up", wait=NATS_PATIENCE)
        try:
            await require_jetstream(connection, url)
            await furnish(connection, self._plan.groups, sizes=Sizes.from_environment(self._env))
            await take_over(self._home, connection)
            await platform_deed(connection, self._home, self._plan.groups, "started", self._said())
            self._url = url  # only what is on record as started is entered as stopped
        finally:
            await connection.close()

    async def _start_children(self, port: int) -> None:
        """Handlers first: a bridge looks for them when it begins to serve, then every few seconds."""
        assert self._door is not None
        fd = self._door.fileno()
        if self._nats.kept is not None:
            self._keepers.append(self._nats.kept)
        self._handlers = self._children("handlers", self._plan.handlers, port)
        await self._served(self._handlers)
        self._bridges = self._children("bridge", self._plan.bridges, port, ["--fd", str(fd)], (fd,))
        await self._served(self._bridges)

    async def _served(self, children: list[Child]) -> None:
        self._keepers += [child.start() for child in children]
        try:
            async with asyncio.timeout(START_PATIENCE):
                await asyncio.gather(*(child.served() for child in children))
        except TimeoutError as problem:
            late = " and ".join(child.name for child in children if not child.ready.is_set())
            raise Failure(
                f"{late} did not get ready within {START_PATIENCE:g} s.",
                code="timed_out",
                hint=f"see {self._home.logs}",
            ) from problem

    async def _become_healthy(self, platform: Platform) -> None:
        """Wait until the bridge finds nothing wrong: who reads `ready` may rely on every part."""
        end = asyncio.get_running_loop().time() + HEALTH_PATIENCE
        trust = trusting(platform.tls_cert)

        async def asked() -> Health:
            return await asyncio.to_thread(ask_health, platform.http, HEALTH_PATIENCE, trust=trust)

        while not (health := await asked()).healthy:
            if asyncio.get_running_loop().time() > end:
                self.tell(f"it serves, but is {health.word}: {health.faults or 'it does not say why'}")
                return
            await asyncio.sleep(HEALTH_POLL)

    def _children(
        self, module: str, count: int, port: int, more: list[str] | None = None, fds: tuple[int, ...] = ()
    ) -> list[Child]:
        # -P: a folder named like ours in the current directory must not come first.
        argv = [sys.executable, "-P", "-m", module, "--data", str(self._home.path), *(more or [])]
        names = [module if count == 1 else f"{module}-{number}" for number in range(1, count + 1)]
        env = self._plan.child_environment(self._env, port, self._certificate)
        return [
            Child(name, argv, open_log(self._home.logs / f"{name}.log"), tell=self.tell, env=env, fds=fds)
            for name in names
        ]

    def _platform(self, url: str, port: int) -> Platform:
        host = f"{reachable(self._plan.host)}:{port}"
        s = "s" if self._certificate else ""
        return Platform(
            pid=os.getpid(),
            ws=f"ws{s}://{host}/ws",
            http=f"http{s}://{host}",
            nats=url,
            groups=self._plan.groups,
            host=self._plan.host,
            port=port,
            started_at=rfc3339(datetime.now(UTC)),
            tls_cert=str(self._certificate.shown) if self._certificate else None,
            nats_cert=self._nats.certificate,
        )
