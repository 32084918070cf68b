"""Locks on a data folder: of the one platform that runs in it, and of whoever writes to it just now."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from backchannel.home.files import FolderError, FolderInUse, reason
from backchannel.home.ownership import CHANGED_BY_OTHERS, FILE_MODE, open_file

POLL = 0.05


class Lock:
    """Held for as long as its file descriptor is open, also by a child that inherited it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def release(self) -> None:
        os.close(self.fd)


def take(folder: Path, wait: float) -> Lock:
    """Be the only platform in a data folder. Raises FolderInUse after `wait` seconds, and FolderError."""
    deadline = time.monotonic() + wait
    fd = _open(folder / "lock", os.O_RDWR | os.O_CREAT)
    while not _flock(fd):
        if time.monotonic() >= deadline:
            holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise FolderInUse(
                f"The data folder {folder} is in use by a running platform (process {holder}). "
                "Stop it, or choose another folder with --data DIR."
            )
        time.sleep(POLL)
    os.fchmod(fd, FILE_MODE)
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(os.getpid()).encode(), 0)
    return Lock(fd)


def is_taken(folder: Path) -> bool:
    """Whether a platform, or a part of one, holds the lock. Raises FolderError."""
    try:
        fd = _open(folder / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _flock(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One at a time among the processes that share a folder. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _open(path: Path, flags: int) -> int:
    try:
        return open_file(path, flags, open_to=CHANGED_BY_OTHERS)
    except NotADirectoryError as problem:
        if flags & os.O_CREAT:
            raise FolderError(f"The lock {path} cannot be opened: {reason(problem)}.") from problem
        raise FileNotFoundError(str(path)) from problem
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise FolderError(f"The lock {path} cannot be opened: {reason(problem)}.") from problem


def _flock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
