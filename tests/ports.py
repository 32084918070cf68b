"""Ports that stay free until a test wants them: none of them is ever given to somebody who asks for any port.

What listens again after a kill wants its old port back. One that the system chose could be chosen for another
test meanwhile, so these lie below the range from which it chooses, and each worker has a stretch of its own.
"""

from __future__ import annotations

import contextlib
import os
import socket
from itertools import count

FIRST, LAST = 12_000, 32_000
WORKERS = 16
STRETCH = (LAST - FIRST) // WORKERS

_tries = count(os.getpid())


def free_ports(number: int) -> list[int]:
    """So many ports on which nobody listens, and which nobody but the caller will be given for long."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    found: list[int] = []
    while len(found) < number:
        port = FIRST + worker * STRETCH + next(_tries) % STRETCH
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
    return found


def free_port() -> int:
    (found,) = free_ports(1)
    return found
