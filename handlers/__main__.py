"""Runs every service found in this folder: ``python -m handlers [NAME …]``."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import pkgutil
import signal
import sys
from collections.abc import Sequence

import structlog

import handlers
from backchannel.errors import BackchannelError
from backchannel.home import Home, Settings
from backchannel.jetstream.address import Address
from backchannel.logs import configure
from backchannel.service.declare import Service
from backchannel.service.keeping import Records
from backchannel.service.running import serve
from backchannel.service.trust import Trust

log = structlog.get_logger()


def found_services(names: Sequence[str] = ()) -> list[Service]:
    """The services of this folder, or those named.

    Raises:
        SystemExit: a name is not one of them.
    """
    found = {}
    for module in pkgutil.iter_modules(handlers.__path__):
        if not module.name.startswith("_"):
            loaded = importlib.import_module(f"handlers.{module.name}")
            found[loaded.service.name] = loaded.service
    if missing := [name for name in names if name not in found]:
        raise SystemExit(f"There is no service {', '.join(missing)}; there are {', '.join(sorted(found))}.")
    return [found[name] for name in (names or sorted(found))]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m handlers", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="services to run; all if none is named")
    parser.add_argument("--data", metavar="DIR", help="data folder of a platform on this machine")
    return parser.parse_args()


async def main(names: Sequence[str], told: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runtime = told.runtime()
    user, password = told.nats_login("platform")
    address = Address(runtime.nats, user, password, runtime.nats_cert)
    services = found_services(names)
    records = Records.of(told, os.environ)
    await serve(
        services,
        address,
        runtime.groups,
        stop,
        lambda: print("ready", flush=True),
        records,
        Trust.of(told, os.environ),
    )


def start() -> int:
    configure()
    told = arguments()
    try:
        asyncio.run(main(told.names, Home.from_environment(os.environ, told.data)))
    except BackchannelError as error:
        log.error("handlers_stopped", error=error.message)
        return 1
    return 0


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.install()
    except ImportError:
        pass
    sys.exit(start())
