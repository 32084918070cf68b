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

from backchannel.errors import BackchannelError, Unavailable

KEY_BYTES = 32


class FolderError(BackchannelError):
    """The data folder, or a file in it, cannot be used as it is."""


class FolderInUse(FolderError):
    """Another platform holds the lock of the data folder."""


class NotRunning(Unavailable):
    """Nothing in the data folder says where a platform serves."""


def refuse_open(path: Path, mode: int) -> None:
    """FolderError when group or others have any right on `path`, whose mode should be `mode`."""
    try:
        found = stat.S_IMODE(path.stat().st_mode)
    except OSError as problem:
        raise FolderError(f"{path} cannot be read: {reason(problem)}.") from problem
    if found & 0o077:
        raise FolderError(
            f"{path} is open to others (mode {found:04o}). Close it with: chmod {mode:o} {path}"
        )


def read_secret(path: Path, *, checked: bool = True) -> str:
    """The text of a secret file, without surrounding space; refused when others have rights on it."""
    if checked:
        refuse_open(path, 0o600)
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise FolderError(f"The secret {path} cannot be read: {reason(problem)}.") from problem
    if not text:
        raise FolderError(f"The secret {path} is empty.")
    return text


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


def write(path: Path, text: str, *, mode: int = 0o644) -> None:
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
    except ValueError as problem:
        raise FolderError(f"{path} is not JSON: {problem}.") from problem
    if not isinstance(value, dict):
        raise FolderError(f"{path} does not hold a JSON object.")
    return value


def reason(problem: Exception) -> str:
    """What went wrong, in words, without the path that the sentence names anyway."""
    if isinstance(problem, (NotADirectoryError, FileExistsError)):
        return "a part of the path is a file"
    return problem.strerror.lower() if isinstance(problem, OSError) and problem.strerror else str(problem)
