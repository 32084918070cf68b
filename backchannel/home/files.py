"""How files of the data folder are read and written: all or nothing, secrets for their owner only."""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Any

from backchannel.errors import Unavailable
from backchannel.home.ownership import (
    CHANGED_BY_OTHERS,
    SEEN_BY_OTHERS,
    FolderError,
    read,
)

__all__ = ["FolderError", "FolderInUse", "NotRunning", "UnknownOrigin"]

KEY_BYTES = 32
LARGEST = 1 << 20
"""Bytes of a secret, and of a file that an operator names; what is larger is something else."""


class UnknownOrigin(FolderError):
    """A data folder that was not made by this user on this machine, and was not taken over either."""

    code = "forbidden"


class FolderInUse(FolderError):
    """Another platform holds the lock of the data folder."""


class NotRunning(Unavailable):
    """Nothing in the data folder says where a platform serves."""


def refuse_open(path: Path, mode: int) -> None:
    """FolderError when group or others have any right on `path`, whose mode should be `mode`."""
    try:
        found = path.stat()
    except OSError as problem:
        raise FolderError(f"{path} cannot be read: {reason(problem)}.") from problem
    if (has := stat.S_IMODE(found.st_mode)) & SEEN_BY_OTHERS:
        raise FolderError(f"{path} is open to others (mode {has:04o}). Close it with: chmod {mode:o} {path}")


def read_secret(path: Path, *, checked: bool = True, linked: bool = False) -> str:
    """The text of a secret file, without surrounding space; refused when others have rights on it.

    Args:
        checked: False for one that an orchestrator mounts, readable by all and through links.
        linked: whether it may be a link, as that to the newest certificate often is.
    """
    try:
        text = (
            _read_linked(path, checked=checked) if linked or not checked else read_own(path, secret=True)
        ).strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise FolderError(f"The secret {path} cannot be read: {reason(problem)}.") from problem
    if not text:
        raise FolderError(f"The secret {path} is empty.")
    return text


def read_own(path: Path, *, secret: bool = False) -> str:
    """The text of a file in a folder of ours. Raises FolderError, OSError, UnicodeDecodeError."""
    return read(path, open_to=SEEN_BY_OTHERS if secret else CHANGED_BY_OTHERS)


def _read_linked(path: Path, *, checked: bool) -> str:
    """Somebody named it. What is read is what was looked at, wherever a link may lead by then."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), encoding="utf-8") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
            raise FolderError(f"The secret {path} is no file of at most {LARGEST} bytes.")
        if (has := stat.S_IMODE(found.st_mode)) & (SEEN_BY_OTHERS if checked else stat.S_IWOTH):
            remedy = f"chmod {'600' if checked else 'o-w'} {path}"
            raise FolderError(f"{path} is open to others (mode {has:04o}). Close it with: {remedy}")
        return file.read()


def random_key() -> bytes:
    return secrets.token_bytes(KEY_BYTES)


def encode_key(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).decode()


def new_key() -> str:
    """32 fresh random bytes in base64url, as a line."""
    return encode_key(random_key()) + "\n"


def decode_key(text: str, path: Path) -> bytes:
    """At least 32 bytes from base64url, padded or not."""
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < KEY_BYTES:
        raise FolderError(f"{path} does not hold a key: at least {KEY_BYTES} random bytes in base64url.")
    return key


def write(path: Path, text: str, *, mode: int = 0o600) -> None:
    """All or nothing, also through a power cut: a new file beside it, synced, renamed over the old one."""
    fd, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(fd, mode)
            os.fsync(fd)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def parse(text: str, path: Path) -> dict[str, Any]:
    """One JSON object, or a FolderError that names the file."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise FolderError(f"{path} is not JSON: {problem}.") from problem
    if not isinstance(value, dict):
        raise FolderError(f"{path} does not hold a JSON object.")
    return value


def reason(problem: Exception) -> str:
    """What went wrong, in words, without the path that the sentence names anyway."""
    if isinstance(problem, (NotADirectoryError, FileExistsError)):
        return "a part of the path is a file"
    return problem.strerror.lower() if isinstance(problem, OSError) and problem.strerror else str(problem)
