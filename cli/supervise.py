"""A process that must run: started on a leash, logged line by line, started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Mapping, Sequence

from backchannel.home import FolderError
from backchannel.jetstream.leash import leashed
from backchannel.logs import hide
from cli.failure import Failure
from cli.log import Lines, Log
from cli.restart import Backoff, Pacer, ended

READY = b"ready"
EARLY_DEATHS = 3
"""So many deaths before it was ever ready are a fault that starting again does not mend."""
PIECE = 64 * 1024


class Child:
    """One process of the platform.

    It says `ready` on a line of its stdout when it serves; all other output goes to its log.

    Args:
        tell: how to reach the person who runs the platform.
        fds: file descriptors that it inherits under the same numbers.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        log: Log,
        *,
        tell: Callable[[str], None],
        env: Mapping[str, str],
        fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        self.ready = asyncio.Event()
        self._argv = argv
        self._env = env
        self._fds = fds
        self._tell = tell
        self._stopping = asyncio.Event()
        self._hopeless = asyncio.Event()
        self._backoff = Backoff()
        self._pacer = Pacer()
        self._unlogged = Pacer()
        self._was_ready = False
        self._last_words = ""
        self._running: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        """Run it from now on. The task ends when `stop` or `kill` was called, and never before."""
        self._task = asyncio.create_task(self._keep(), name=f"keep {self.name}")
        return self._task

    async def served(self) -> None:
        """Wait until it says ready for the first time. Failure when it keeps dying instead."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self.ready, self._hopeless)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not self.ready.is_set():
            words = self._last_words.removeprefix("error: ") or "it said nothing"
            raise Failure(f"{self.name} does not start: {words}", hint=f"more is in {self.log.path}")

    async def stop(self, patience: float) -> None:
        """Ask it to end; after `patience` seconds, make it end."""
        self._stopping.set()
        if self._task is None:
            return
        self._signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await asyncio.shield(self._task)
                return
        self._tell(f"{self.name} did not stop within {patience:g} s and was killed")
        self.kill()
        await self._task

    def kill(self) -> None:
        self._stopping.set()
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._running is not None:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
                self._running.send_signal(number)

    async def _keep(self) -> None:
        deaths = 0
        clock = asyncio.get_running_loop().time
        while not self._stopping.is_set():
            began = clock()
            outcome = await self._run_once()
            if self._stopping.is_set():
                break
            deaths += 1
            if deaths >= EARLY_DEATHS and not self._was_ready:
                self._hopeless.set()
            wait = self._backoff.after(clock() - began)
            self._report(outcome, wait, clock())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._stopping.wait()
        self.log.close()

    async def _run_once(self) -> str:
        """Run it to its end; in words, how it ended."""
        try:
            running = await asyncio.create_subprocess_exec(
                *leashed(self._argv),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=self._fds,
                env=self._env,
                start_new_session=True,  # Ctrl-C is for `up`, which stops its children in order
            )
        except OSError as problem:
            return f"could not be started ({problem})"
        self._running = running
        if self._stopping.is_set():
            self._signal(signal.SIGTERM)
        assert running.stdout is not None and running.stderr is not None
        try:
            await asyncio.gather(self._read(running.stdout, True), self._read(running.stderr, False))
            code = await running.wait()
        finally:
            self._running = None
            self.ready.clear()
        return ended(code)

    async def _read(self, stream: asyncio.StreamReader, awaited: bool) -> None:
        lines = Lines()
        while piece := await stream.read(PIECE):
            for line in lines.feed(piece):
                self._take(line, awaited)
        for line in lines.rest():
            self._take(line, awaited)

    def _take(self, line: bytes, awaited: bool) -> None:
        if awaited and line.strip() == READY:
            self._was_ready = True
            self.ready.set()
        else:
            if not line.startswith(b"{"):  # not from the child's logger, which knows what to leave out
                line = hide(line.decode("utf-8", "replace")).encode()
            self._last_words = line.decode("utf-8", "replace").strip() or self._last_words
            self._write(line)

    def _write(self, line: bytes) -> None:
        try:
            self.log.write(line)
        except (OSError, ValueError, FolderError) as problem:
            if self._unlogged.died(asyncio.get_running_loop().time()):
                why = getattr(problem, "strerror", None) or problem
                self._tell(f"{self.log.path} cannot be written ({why}); its lines are lost")

    def _report(self, outcome: str, wait: float, now: float) -> None:
        """To its log always; to the person, once it has served, and no more than once a minute."""
        self._write(f"[up] {self.name} {outcome}; starting it again in {wait:g} s".encode())
        if not self._was_ready:
            return
        if count := self._pacer.died(now):
            often = f" ({count} times since the last report)" if count > 1 else ""
            self._tell(f"{self.name} {outcome}{often}; starting it again in {wait:g} s. See {self.log.path}")
