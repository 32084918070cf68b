"""The embedded nats-server: started on a leash, ready when JetStream answers, ended with its platform."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from backchannel.errors import BackchannelError
from backchannel.jetstream.address import Address
from backchannel.jetstream.answer import api
from backchannel.jetstream.binary import Binary, ServerFailed, find
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.diagnosis import cause
from backchannel.jetstream.folder import configuration
from backchannel.jetstream.leash import leashed
from backchannel.jetstream.nkey import Nkey

__all__ = ["ROLES", "Server", "ServerFailed", "environment", "new_logins"]

Login = tuple[str, str]
Role = Literal["platform", "operator", "steward", "system"]
ROLES: tuple[Role, ...] = ("platform", "operator", "steward", "system")
SYNC = {"normal": "1s", "strict": "always"}
POLL = 0.01
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}


def new_logins() -> dict[Role, Login]:
    """A user and a fresh password for every role."""
    return {role: (role, secrets.token_urlsafe(24)) for role in ROLES}


def environment(
    *, listen: str, store: Path, log: Path, logins: Mapping[Role, Login], durability: str, issuer: str
) -> dict[str, str]:
    """The variables that embedded.conf reads. Quoted, or a password of digits would be read as a number."""
    values = {
        "BC_NATS_LISTEN": listen,
        "BC_NATS_STORE": str(store),
        "BC_NATS_PORTS_FOLDER": str(store),
        "BC_NATS_PID_FILE": str(store / "nats-server.pid"),
        "BC_NATS_LOG_FILE": str(log),
        "BC_NATS_SYNC": SYNC[durability],
        "BC_NATS_ISSUER": issuer,
    }
    for role in ROLES:
        user, password = logins[role]
        values[f"BC_NATS_{role.upper()}_USER"] = user
        values[f"BC_NATS_{role.upper()}_PASSWORD"] = password
    return {name: json.dumps(value) for name, value in values.items()}


def _neutral(env: Mapping[str, str]) -> dict[str, str]:
    """Without what concerns the platform alone; some of it may be secret."""
    return {name: value for name, value in env.items() if not name.startswith("BACKCHANNEL_")}


class Server:
    """One nats-server on this machine.

    Args:
        store: where streams are kept; made if missing.
        logs: where its log goes; `store` if not given.
        port: -1 lets the system choose; the choice is kept over restarts, so that clients find it again.
        callout_key: 32 secret bytes; whose signature lets agents in. Without it nobody can.
        durability: "strict" waits for the disk at every message, "normal" at most a second.
        fds: file descriptors it inherits, such as a lock that lives as long as it does.
        program: another nats-server than the installed one.
        certificate: files with its certificate and the key; with them it speaks TLS only.
    """

    def __init__(
        self,
        store: str | os.PathLike[str],
        *,
        logs: str | os.PathLike[str] | None = None,
        host: str = "127.0.0.1",
        port: int = -1,
        logins: Mapping[Role, Login] | None = None,
        callout_key: bytes | None = None,
        durability: str = "normal",
        fds: Sequence[int] = (),
        program: Binary | None = None,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self.store = Path(store).absolute()
        self.logs = Path(logs).absolute() if logs is not None else self.store
        self.host = host
        self.port = port
        self.logins = dict(logins) if logins is not None else new_logins()
        self._issuer = Nkey(callout_key or secrets.token_bytes(32)).public
        self._durability = durability
        self._fds = tuple(fds)
        self._program = program
        self._certificate = certificate
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients on this machine reach it."""
        scheme = "tls" if self._certificate else "nats"
        return f"{scheme}://{EVERYWHERE.get(self.host, self.host)}:{self.port}"

    def address(self, role: Role = "platform") -> Address:
        """Where it is, with the login of a role."""
        user, password = self.logins[role]
        shown = str(self._certificate[0]) if self._certificate else None
        return Address(self.url, user, password, shown)

    @property
    def pid(self) -> int | None:
        return self._child.pid if self.running and self._child is not None else None

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def log(self) -> Path:
        return self.logs / "nats-server.log"

    @property
    def _outcry(self) -> Path:
        """What it says before it has a log, and when it crashes."""
        return self.logs / "nats-server.stderr"

    async def start(self, *, wait: float = 120.0) -> None:
        """Start it and return once JetStream can be used. It must be called in a thread that stays.

        Raises:
            ServerFailed: it cannot be started, or was not ready within `wait` seconds; it does not run then.
        """
        if self.running:
            return
        program = self._program or find()
        self._prepare()
        written = self.log.stat().st_size if self.log.exists() else 0
        self._child = self._spawn(program)
        try:
            async with asyncio.timeout(wait):
                await self._listens(written)
                await self._answers(wait)
        except TimeoutError:
            await self.stop(grace=2.0)
            raise ServerFailed(
                f"nats-server was not ready within {wait:g} s; its log {self.log} says what it was doing."
            ) from None
        except BaseException as problem:
            await self.stop(grace=2.0)
            if isinstance(problem, BackchannelError) and not isinstance(problem, ServerFailed):
                raise ServerFailed(
                    f"nats-server runs but cannot be used: {problem.message} Its log is {self.log}."
                ) from problem
            raise

    async def wait(self) -> int:
        """Wait for its end; its exit code, or minus the number of the signal that ended it."""
        if self._child is None:
            return 0
        while True:
            if (code := self._child.poll()) is not None:
                return code
            await asyncio.sleep(POLL * 5)

    async def stop(self, *, grace: float = 10.0) -> None:
        """Ask it to end, and after `grace` seconds make it end. Returns when it has."""
        if self._child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                await self.wait()
        except TimeoutError:
            self.kill()
            await self.wait()

    def kill(self) -> None:
        """SIGKILL; `wait` tells when it is gone."""
        if self._child is not None:
            self._child.kill()

    async def restart(self, *, wait: float = 120.0) -> None:
        """Stop it and start it again, on the same port."""
        await self.stop()
        await self.start(wait=wait)

    def _prepare(self) -> None:
        try:
            self.store.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self.store / f".writable-{secrets.token_hex(4)}"
            probe.touch()
            probe.unlink()
        except OSError as problem:
            raise ServerFailed(
                f"The store {self.store} cannot be written ({problem.strerror}): "
                "make it writable for this user, or choose another data folder."
            ) from problem
        for left_over in self.store.glob("*.ports"):
            left_over.unlink(missing_ok=True)

    def _spawn(self, program: Binary) -> subprocess.Popen[bytes]:
        values = environment(
            listen=f"{self.host}:{self.port}",
            store=self.store,
            log=self.log,
            logins=self.logins,
            durability=self._durability,
            issuer=self._issuer,
        )
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self._outcry, flags, 0o600), "wb") as outcry:
            return subprocess.Popen(
                leashed([str(program.path), "-c", str(configuration() / "embedded.conf"), *self._tls()]),
                stdin=subprocess.DEVNULL,
                stdout=outcry,
                stderr=outcry,
                pass_fds=self._fds,
                env={**_neutral(os.environ), **values},
                start_new_session=True,  # Ctrl-C is for the platform, which stops its parts in order
                umask=0o077,
            )

    def _tls(self) -> list[str]:
        """Flags, because a configuration cannot say "if there is a certificate"."""
        if self._certificate is None:
            return []
        shown, key = map(str, self._certificate)
        return ["--tls", "--tlscert", shown, "--tlskey", key]

    async def _listens(self, written: int) -> None:
        """Wait for the file in which it names its port."""
        assert self._child is not None
        ports = self.store / f"nats-server_{self._child.pid}.ports"
        while True:
            if self._child.poll() is not None:
                said = await asyncio.to_thread(self._said, written)
                raise ServerFailed(cause(said, self.host, self.port, self.store, self.log))
            found = [*self.store.glob(f"*_{self._child.pid}.ports"), ports][0]
            with contextlib.suppress(OSError, ValueError, KeyError):  # not there, or half written
                urls = json.loads(found.read_text("utf-8"))["nats"]
                self.port = int(urls[0].rsplit(":", 1)[1])
                return
            await asyncio.sleep(POLL)

    async def _answers(self, wait: float) -> None:
        """Wait until JetStream answers."""
        end = time.monotonic() + wait
        async with await Connection.open(self.address(), name="start", wait=wait) as connection:
            while True:
                try:
                    await api(connection, "INFO")
                    return
                except BackchannelError:
                    if not self.running or time.monotonic() > end:
                        raise ServerFailed(
                            f"nats-server runs but JetStream does not answer; its log {self.log} says why."
                        ) from None
                await asyncio.sleep(POLL * 5)

    def _said(self, written: int) -> str:
        """What it wrote since it was started this time."""
        said = self._outcry.read_text("utf-8", "replace")
        if self.log.exists():
            with self.log.open("rb") as file:
                file.seek(written if written <= self.log.stat().st_size else 0)
                said += file.read().decode("utf-8", "replace")
        return said
