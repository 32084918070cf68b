"""Running `backchannel` as a program of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.ports import free_port

PROGRAM = str(Path(sys.executable).with_name("backchannel"))
WAIT = 120.0
"""Several programs may be started at once, on few cores."""


class Answer(NamedTuple):
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    """Ours without any setting of a platform that may run on this machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BACKCHANNEL_")}
    return kept | {"NO_COLOR": "1"} | more


def backchannel(
    *words: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    given: str | None = None,
) -> Answer:
    """Run one command to its end."""
    done = subprocess.run(
        [PROGRAM, *map(str, words)],
        env=environment(**(env or {})),
        cwd=cwd,
        input=given,
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


class Up:
    """A running `backchannel up`; its output is read all the time and may be waited for."""

    def __init__(self, data: Path, *words: str, env: Mapping[str, str] | None = None) -> None:
        self.data = data
        self.words = ("up", "--data", str(data), "--port", "0", "--nats-port", str(free_port()), *words)
        self.out: list[str] = []
        self.err: list[str] = []
        self._changed = threading.Condition()
        self._child = subprocess.Popen(
            [PROGRAM, *self.words],
            env=environment(**(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=self._read, args=found, daemon=True)
            for found in ((self._child.stdout, self.out), (self._child.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def ready(self) -> list[str]:
        """The three addresses of the ready line; waits for it."""
        return self.said("ready ", self.out).split()[1:]

    def said(self, words: str, where: Sequence[str] | None = None) -> str:
        """The first line that holds some words; waits for it."""
        lines = self.err if where is None else where
        with self._changed:
            found = self._changed.wait_for(lambda: self._find(words, lines) or self._over, WAIT)
        line = self._find(words, lines)
        assert line, f"{words!r} was not said ({found=}):\n{''.join(self.out)}{''.join(self.err)}"
        return line

    def signal(self, number: signal.Signals) -> Self:
        self._child.send_signal(number)
        return self

    def wait(self) -> int:
        """Its exit code."""
        code = self._child.wait(WAIT)
        for reader in self._readers:
            reader.join(WAIT)
        return code

    def stop(self) -> int:
        return self.signal(signal.SIGTERM).wait()

    def close(self) -> None:
        """Leave nothing behind, whatever the test did."""
        if self._child.poll() is None:
            self._child.kill()
        self.wait()
        for stream in (self._child.stdout, self._child.stderr):
            if stream is not None:
                stream.close()

    def run(self, *words: str) -> Answer:
        """A command about this platform."""
        return backchannel(*words, "--data", self.data)

    def children(self) -> dict[str, int]:
        """The processes it runs, by the last word that tells them apart."""
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal() and _parent(folder) == self.pid:
                with contextlib.suppress(OSError):  # it has ended just now
                    line = (folder / "cmdline").read_bytes().decode().split("\0")
                    name = line[line.index("-m") + 1] if "-m" in line else Path(line[0]).name
                    found[name] = int(folder.name)
        return found

    @property
    def _over(self) -> bool:
        return all(not reader.is_alive() for reader in self._readers)

    @staticmethod
    def _find(words: str, lines: Sequence[str]) -> str:
        return next((line for line in lines if words in line), "")

    def _read(self, stream: Any, lines: list[str]) -> None:
        for line in stream:
            with self._changed:
                lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


def _parent(folder: Path) -> int | None:
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return None
