"""The real handlers, with one more query that tells what this very process knows; runs as a program too.

    python -m tests.handlers.witness [STEP]

A step is a place in a merge at which the process kills itself; see `tests.handlers.tripwire`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from backchannel.domain.sidebar import Sidebar
from backchannel.home import Environment
from backchannel.jetstream.address import Address
from backchannel.logs import configure
from backchannel.service.context import Inquiry
from backchannel.service.declare import Service
from backchannel.service.running import serve
from handlers.__main__ import found_services
from tests.handlers.tripwire import arm

PLAIN = TypeAdapter(Sidebar)


def services(name: str) -> list[Service]:
    """Every handler there is, and a witness of this name."""
    witness = Service("witness", about=__doc__)

    @witness.answers("views")
    async def views(inquiry: Inquiry) -> Mapping[str, Any]:
        """Every sidebar whose name begins as asked, as this process sees it once it is up to date."""
        lives = inquiry.house.lives[inquiry.group]
        await lives.reach()
        wanted = str(inquiry.params["prefix"])
        found = [sidebar for sidebar in lives.all() if sidebar.sidebar_id.startswith(wanted)]
        return {
            "witness": name,
            "sidebars": {sidebar.sidebar_id: PLAIN.dump_python(sidebar, mode="json") for sidebar in found},
        }

    return [*found_services(), witness]


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    told = Environment(os.environ)
    runtime = told.runtime()
    address = Address(runtime.nats, *told.nats_login("platform"))
    await serve(services(str(os.getpid())), address, runtime.groups, stop, lambda: print("ready", flush=True))


if __name__ == "__main__":
    configure()
    if len(sys.argv) > 1:
        arm(sys.argv[1])
    asyncio.run(main())
