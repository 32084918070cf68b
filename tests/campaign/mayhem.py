"""Mayhem: what is done to a platform and its agents, drawn from one seed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from tests.campaign.actor import Actor
from tests.promises.running import Platform

BRIDGE, HANDLERS, NATS = "-m bridge", "-m handlers", "nats-server"


class Mayhem:
    """Faults one after the other. `kills` and `scenarios` count what was done."""

    def __init__(self, platform: Platform, actors: list[Actor], chance: random.Random) -> None:
        self.platform, self.actors, self.chance = platform, actors, chance
        self.kills: Counter[str] = Counter()
        self.scenarios: Counter[str] = Counter()
        self._frozen: set[int] = set()
        # fmt: off
        self._choices: dict[str, tuple[int, Callable[[], Coroutine[Any, Any, None]]]] = {
            "kill a bridge":            (4, lambda: self._kill(BRIDGE)),
            "kill a handlers process":  (3, lambda: self._kill(HANDLERS)),
            "kill nats-server":         (3, lambda: self._kill(NATS)),
            "kill one of each":         (1, self._kill_one_of_each),
            "kill every bridge":        (1, self._kill_bridges),
            "freeze a bridge":          (3, lambda: self._freeze(BRIDGE, 0.5, 6.0)),
            "freeze a handlers process": (1, lambda: self._freeze(HANDLERS, 0.5, 7.0)),
            "freeze nats-server":       (1, lambda: self._freeze(NATS, 0.5, 3.0)),
            "freeze, then kill":        (1, self._freeze_then_kill),
            "everybody vanishes":       (2, self._everybody_vanishes),
            "half stop reading":        (4, self._half_stop_reading),
            "let it be":                (1, self._let_it_be),
        }
        # fmt: on

    async def rage(self, over: asyncio.Event, shortest: float, longest: float) -> None:
        """Do one thing after the other until it is over."""
        try:
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), self.chance.uniform(shortest, longest))
                    return
                names = list(self._choices)
                name = self.chance.choices(names, [self._choices[one][0] for one in names])[0]
                self.scenarios[name] += 1
                await self._choices[name][1]()
        finally:
            self._thaw()

    def _disturb(self) -> None:
        """What is acknowledged around now may be remembered late."""
        for actor in self.actors:
            actor.calm = False

    async def _kill(self, what: str) -> None:
        self._disturb()
        pids = self.platform.children(what)
        if pids:
            os.kill(self.chance.choice(pids), signal.SIGKILL)
            self.kills[what.removeprefix("-m ")] += 1

    async def _kill_one_of_each(self) -> None:
        for what in (HANDLERS, BRIDGE, NATS):
            await self._kill(what)

    async def _kill_bridges(self) -> None:
        self._disturb()
        self.kills["bridge"] += self.platform.kill(BRIDGE)

    async def _freeze(self, what: str, shortest: float, longest: float) -> None:
        """Stop one in the middle of whatever it does, for a while."""
        self._disturb()
        pids = self.platform.children(what)
        if not pids:
            return
        pid = self.chance.choice(pids)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            self._frozen.add(pid)
            await asyncio.sleep(self.chance.uniform(shortest, longest))
        self._thaw()

    async def _freeze_then_kill(self) -> None:
        """Others take over from one that comes back only to die."""
        self._disturb()
        pids = self.platform.children(BRIDGE)
        if pids:
            pid = self.chance.choice(pids)
            os.kill(pid, signal.SIGSTOP)
            self._frozen.add(pid)
            await asyncio.sleep(self.chance.uniform(1.0, 4.0))
            self._thaw()
            await asyncio.sleep(self.chance.uniform(0.0, 0.3))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.kills["bridge"] += 1

    def _thaw(self) -> None:
        for pid in self._frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._frozen.clear()

    async def _everybody_vanishes(self) -> None:
        for actor in self.actors:
            actor.vanish.set()

    async def _half_stop_reading(self) -> None:
        for actor in self.chance.sample(self.actors, len(self.actors) // 2):
            actor.stall = self.chance.uniform(1.0, 6.0)

    async def _let_it_be(self) -> None:
        """A while in which everything acknowledged is remembered at once."""
        await asyncio.sleep(2.0)
        for actor in self.actors:
            actor.calm = True
