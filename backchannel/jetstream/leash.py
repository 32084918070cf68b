"""Starts a program so that it dies with whoever started it, even when that one is killed.

A program of its own, run by path: ``python -I -S leash.py PARENT [--watch] -- PROGRAM ARGUMENT…``. It becomes
the program (same process id, same file descriptors). On Linux the kernel does the killing; elsewhere, or
with ``--watch``, a second process looks after the parent several times a second. Every start waits for it,
so it imports little.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence

SET_DEATH_SIGNAL = 1
WATCH_EVERY = 0.2
MOST_DESCRIPTORS = 4096


def leashed(argv: Sequence[str], *, watch: bool = False) -> list[str]:
    """The command that runs `argv` on a leash held by this process.

    On Linux it is the calling *thread* whose end counts: start children from a thread that stays, which
    the main thread does.
    """
    how = ["--watch"] if watch else []
    own = [sys.executable, "-I", "-S", os.path.realpath(__file__), str(os.getpid())]
    return [*own, *how, "--", *argv]


def main(arguments: Sequence[str]) -> None:
    """Become the program, or exit with 125 when it cannot be started."""
    cut = arguments.index("--")
    parent, watch, program = int(arguments[0]), "--watch" in arguments[1:cut], list(arguments[cut + 1 :])
    if watch or not _bind_to_parent():
        _start_watcher(parent)
    if os.getppid() != parent:  # it died before the leash was on
        sys.exit(125)
    try:
        os.execvp(program[0], program)
    except OSError as problem:
        sys.stderr.write(f"{program[0]} cannot be started: {problem.strerror}.\n")
        sys.exit(125)


def _bind_to_parent() -> bool:
    """Ask the kernel for SIGKILL at the parent's death; False where it knows no such thing."""
    if not sys.platform.startswith("linux"):
        return False
    refused: int = ctypes.CDLL(None, use_errno=True).prctl(SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    return refused == 0


def _start_watcher(parent: int) -> None:
    program = os.getpid()
    if os.fork():
        return
    os.closerange(0, MOST_DESCRIPTORS)  # a lock inherited by the program must not outlive it in here
    os.setsid()
    while os.getppid() == program:
        if not _is_there(parent):
            os.kill(program, signal.SIGKILL)
            break
        time.sleep(WATCH_EVERY)
    os._exit(0)


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
