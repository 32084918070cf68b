"""The NATS server below a platform: one of our own that is kept alive, or one that runs already."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from backchannel.errors import BackchannelError
from backchannel.home import Home
from backchannel.home.files import read_secret
from backchannel.jetstream.embedded import Server
from cli.certificate import Certificate
from cli.failure import Failure
from cli.restart import Backoff, Pacer, ended

STOP_PATIENCE = 2.0
RECOVERY = 600.0
"""Seconds in which a server must have read its store; a large one takes its time."""


class Nats(Protocol):
    """What `up` needs of either kind. `start` gives the URL without login; that is in the data folder."""

    @property
    def kept(self) -> asyncio.Task[None] | None: ...
    @property
    def certificate(self) -> str | None: ...
    async def start(self) -> str: ...
    async def stop(self) -> None: ...
    def kill(self) -> None: ...


class Own:
    """A nats-server that is started, started again when it dies, and ended with the platform."""

    def __init__(
        self,
        home: Home,
        host: str,
        port: int,
        durability: str,
        lock: int,
        tell: Callable[[str], None],
        certificate: Certificate | None,
    ) -> None:
        self._home = home
        self._host = host
        self._port = port
        self._durability = durability
        self._lock = lock
        self._tell = tell
        self._pair = certificate.pair if certificate else None
        self.certificate = str(certificate.shown) if certificate else None
        self._server: Server | None = None
        self.kept: asyncio.Task[None] | None = None

    async def start(self) -> str:
        server = self._server = Server(
            self._home.store,
            logs=self._home.logs,
            host=self._host,
            port=self._port or -1,
            logins=self._home.own_logins(),
            callout_key=self._home.callout_key(),
            durability=self._durability,
            fds=(self._lock,),
            certificate=self._pair,
        )
        await server.start(wait=RECOVERY)
        self.kept = asyncio.create_task(self._keep(server), name="keep nats-server")
        return server.url

    async def stop(self) -> None:
        if self.kept is not None:
            self.kept.cancel()
            await asyncio.gather(self.kept, return_exceptions=True)
        if self._server is not None:
            await self._server.stop(grace=STOP_PATIENCE)

    def kill(self) -> None:
        if self.kept is not None:
            self.kept.cancel()
        if self._server is not None:
            self._server.kill()

    async def _keep(self, server: Server) -> None:
        """On the same port and store, so that everybody finds everything again."""
        clock = asyncio.get_running_loop().time
        backoff, pacer = Backoff(), Pacer()
        while True:
            began = clock()
            outcome = ended(await server.wait())
            while not server.running:
                wait = backoff.after(clock() - began)
                began = clock()
                if pacer.died(clock()):
                    self._tell(f"nats-server {outcome}; starting it again in {wait:g} s. See {server.log}")
                await asyncio.sleep(wait)
                try:
                    await server.start(wait=RECOVERY)
                except (BackchannelError, OSError) as problem:
                    outcome = f"does not start ({problem})"


class Foreign:
    """A server that somebody else runs: only its address and our login there are ours to keep."""

    kept = None
    certificate = None

    def __init__(self, home: Home, urls: str, env: Mapping[str, str]) -> None:
        self._home = home
        self._parts = servers(urls)
        self._env = env

    async def start(self) -> str:
        self._home.use_login(*self._login())
        return ",".join(f"{part.scheme}://{part.netloc.rpartition('@')[2]}" for part in self._parts)

    async def stop(self) -> None:
        return

    def kill(self) -> None:
        return

    def _login(self) -> tuple[str | None, str | None]:
        """From the URL, else from the environment."""
        for part in self._parts:
            if part.username:
                return unquote(part.username), unquote(part.password or "")
        path = self._env.get("BACKCHANNEL_NATS_PASSWORD_FILE")
        return self._env.get("BACKCHANNEL_NATS_USER"), read_secret(
            Path(path), checked=False
        ) if path else None


def servers(urls: str) -> list[SplitResult]:
    """The servers of a list divided by commas. Failure (usage) when one of them is none."""
    return [_server(url.strip()) for url in urls.split(",") if url.strip()] or [_server("")]


def _server(url: str) -> SplitResult:
    with contextlib.suppress(ValueError):
        part = urlsplit(url if "://" in url else f"nats://{url}")
        if part.scheme in ("nats", "tls") and part.hostname and part.port != 0:
            return part
    # The URL may hold a password, so it is not repeated.
    raise Failure("--nats does not name a server.", code="usage", hint="write it as nats://HOST:PORT")
