"""The bridge as a program: `python -m bridge --data DIR`, alone or as a child of `backchannel up`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from backchannel import logs
from backchannel.delivery.keys import Keys
from backchannel.errors import BackchannelError, BadMessage
from backchannel.home import Home
from backchannel.home.files import refuse_open
from backchannel.jetstream.address import Address
from backchannel.service.keeping import pepper_of
from backchannel.service.keyring import Keyring
from backchannel.tls import names_of, serving
from bridge.config import Config
from bridge.crowd import HEADROOM
from bridge.descriptors import sockets_for
from bridge.host import Site
from bridge.house import House
from bridge.http import Pages
from bridge.metrics import Metrics
from bridge.port import Port
from bridge.upgrade import Gate, own_origins

log = structlog.get_logger("bridge")

EXIT_CODES = {"forbidden": 4, "unavailable": 5, "bad_message": 2}
DRAIN_SECONDS = 1.0
GOODBYE_SECONDS = 1.5
GC_THRESHOLDS = (50_000, 20, 100)


class Secrets(NamedTuple):
    """What a bridge knows that nobody else may: of tokens, of digests in the trail, of stored records."""

    tokens: Callable[[], Keys]
    pepper: bytes
    seals: tuple[bytes, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. The exit code is that of the wire protocol, section 7."""
    chosen = _parser().parse_args(arguments)
    logs.configure(chosen.log_level)
    try:
        config, address, secrets = _settings(chosen)
        tls = _tls(config, checked=isinstance(Home.from_environment(os.environ, chosen.data), Home))
        sock = _socket(chosen.fd, config)
        _run(serve(config, address, secrets, sock, tls))
    except BackchannelError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return EXIT_CODES.get(error.code, 1)
    return 0


async def serve(
    config: Config, address: Address, secrets: Secrets, sock: socket.socket, tls: ssl.SSLContext | None
) -> None:
    """Serve on a bound socket until told to stop. Raises BackchannelError when it cannot."""
    stopping = _signals()
    metrics, site = Metrics(), Site()
    host, number = sock.getsockname()[:2]
    origins = [*own_origins(str(host), int(number)), *config.allowed_origins]
    nonce_needed = not config.bearer_tokens
    hosts = (str(host), config.host, socket.gethostname(), *config.allowed_hosts, *names_of(config.tls_cert))
    gate = Gate(Keyring(secrets.tokens, time.time, config.groups, nonce_needed=nonce_needed), origins, hosts)
    sockets = sockets_for(config.max_connections + config.max_requests + HEADROOM)
    port = Port(config, metrics, site, gate, Pages(config, metrics, site, gate).app(), sockets)
    await port.open(sock, tls)  # before there is anything to serve: whoever comes now is told to come again
    house = await _unless(stopping, House.open(address, config, metrics, gate, secrets.pepper, secrets.seals))
    if house is None:
        await port.close("The bridge stops.", GOODBYE_SECONDS)
        return
    idle = house.publisher.free
    site.host = house
    _settle_memory()
    log.info("serving", host=host, port=number, groups=config.groups)
    print("ready", flush=True)
    await stopping.wait()
    await _close(port, house, idle, config.stop_seconds)


async def _close(port: Port, house: House, idle: int, seconds: float) -> None:
    """Read nothing more, answer what was read, say goodbye, leave: within ``seconds``, come what may."""
    log.info("stopping", connections=len(port.room.wires))
    try:
        async with asyncio.timeout(seconds * 0.9):
            port.hush()
            await _drained(house, idle)
            await port.close("The bridge restarts.", GOODBYE_SECONDS)
            await house.close()
    except TimeoutError:
        log.warning("stopped_by_force", sockets=port.crowd.sockets)
    except Exception:
        log.exception("stop_failed")
    log.info("stopped")


async def _drained(house: House, idle: int) -> None:
    """Wait until everything that is on its way to the log is stored and answered."""
    loop = asyncio.get_running_loop()
    until = loop.time() + DRAIN_SECONDS
    while house.publisher.free < idle and loop.time() < until:  # noqa: ASYNC110  it says how much, not when
        await asyncio.sleep(0.01)


def _signals() -> asyncio.Event:
    """Set by the first signal. The second ends the process on the spot."""
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()

    def told() -> None:
        if stopping.is_set():
            os._exit(1)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    return stopping


async def _unless(stopping: asyncio.Event, opening: Coroutine[Any, Any, House]) -> House | None:
    """The opened house, or None if the bridge is stopped before it is open."""
    opened, stopped = asyncio.create_task(opening), asyncio.create_task(stopping.wait())
    await asyncio.wait({opened, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if opened.done():
        stopped.cancel()
        return opened.result()
    opened.cancel()
    await asyncio.gather(opened, return_exceptions=True)
    return None


def _settle_memory() -> None:
    """What was made until now stays; a storm of connections should not walk through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _settings(chosen: argparse.Namespace) -> tuple[Config, Address, Secrets]:
    """Flags, then environment, then the data folder. Raises BackchannelError."""
    settings = Home.from_environment(os.environ, chosen.data)
    runtime = settings.runtime()
    config = replace(
        Config().with_environment(os.environ),
        groups=tuple(chosen.groups.split(",")) if chosen.groups else runtime.groups,
        host=chosen.host or runtime.host,
        port=runtime.port if chosen.port is None else chosen.port,
    )
    user, password = settings.nats_login("platform")
    pepper = pepper_of(settings.audit_key())
    secrets = Secrets(settings.token_keys(), pepper, settings.seal_keys())
    return config, Address(runtime.nats, user, password, runtime.nats_cert), secrets


def _tls(config: Config, *, checked: bool) -> ssl.SSLContext | None:
    """What to serve with, if with TLS. Raises BackchannelError."""
    if not (config.tls_cert or config.tls_key):
        return None
    if not (config.tls_cert and config.tls_key):
        raise BadMessage("TLS needs both BACKCHANNEL_TLS_CERT and BACKCHANNEL_TLS_KEY.")
    if checked:  # where there is no data folder, no mode of a secret is checked: see home.settings
        refuse_open(Path(config.tls_key), 0o600)
    return serving(Path(config.tls_cert), Path(config.tls_key))


def _socket(fd: int | None, config: Config) -> socket.socket:
    """A socket that is bound: inherited, or opened here. Raises BackchannelError."""
    try:
        if fd is not None:
            return socket.socket(fileno=fd)
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        return socket.create_server((config.host, config.port), family=family, backlog=config.backlog)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        where = f"descriptor {fd}" if fd is not None else f"port {config.port} of {config.host}"
        raise BackchannelError(f"The bridge cannot listen on {where}: {reason}. Choose another.") from error


def _run(main: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        asyncio.run(main)
    else:
        uvloop.run(main)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bridge", description=__doc__)
    parser.add_argument("--data", metavar="DIR", help="the data folder; else BACKCHANNEL_* variables")
    parser.add_argument("--host", help="listen here")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--port", type=int, help="listen on this port; 0 for any")
    where.add_argument("--fd", type=int, metavar="N", help="serve on this inherited listening socket")
    parser.add_argument("--groups", metavar="A,B", help="serve these groups")
    parser.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    return parser


if __name__ == "__main__":
    sys.exit(main())
