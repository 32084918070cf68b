"""Any requests of several agents, repeated and overtaking each other, on two handlers that are killed."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backchannel.domain.sidebar import TERMINAL
from backchannel.jetstream.read import Record
from backchannel.protocol.catalog import write
from backchannel.protocol.json_object import read_object
from backchannel.protocol.sidebar_status import SidebarStatus
from tests.build import message
from tests.handlers.crew import Command, Crew, InLoop, InProcess
from tests.handlers.invariants import check
from tests.histories import AGENTS, Step, steps

LANES = ("critical", "high", "normal", "low", "background")
NEWEST = 4
"""Only so many of an example's sidebars are spoken to, so that agents get into each other's way."""
SHORT = 10
LONG = {"short": 15}.get(os.environ.get("BACKCHANNEL_CAMPAIGN", ""), 1000)
MOODS = tuple(status for status in SidebarStatus if status not in TERMINAL)
DIE = 48
"""Of so many drawn kills one is done in a campaign, and more in a short walk: each takes six seconds,
a start and the wait until what was in the dead hands is given to others."""
OFTEN, SELDOM = 3, 1


class Floor:
    """The crew that all examples share; every example names its sidebars after itself."""

    def __init__(self, runner: asyncio.Runner, crew: Crew) -> None:
        self.deadly = OFTEN
        self.runner = runner
        self.crew = crew
        self.examples = count(1)
        self.kills = 0
        self.commands = 0
        self.outcomes: Counter[str] = Counter()
        self.fault: Exception | None = None
        self.story = ""

    def run(self, work: Any) -> Any:
        return self.runner.run(work)


class Walk(RuleBasedStateMachine):
    """Commands are gathered, then set free all at once; when all are settled, everything is looked at."""

    def __init__(self, floor: Floor) -> None:
        super().__init__()
        self.floor = floor
        self.prefix = f"x{next(floor.examples)}-"
        self.start = floor.crew.position
        self.sidebars: list[str] = []
        self.gathered: list[Command] = []
        self.asked: list[Command] = []
        self.victim: tuple[int, int] | None = None

    @initialize(others=st.lists(st.sampled_from(AGENTS), max_size=3).map(tuple))
    def first(self, others: tuple[str, ...]) -> None:
        self.ask(Step("ada", "spawn", 0, 0, others), "normal")

    @rule(step=steps, lane=st.sampled_from(LANES))
    def ask(self, step: Step, lane: str) -> None:
        fresh = f"{self.prefix}{len(self.sidebars)}"
        self.gathered.append(Command(step.sender, step.message(self.sidebars[-NEWEST:], fresh), lane))
        if step.opens:
            self.sidebars.append(fresh)

    @rule(
        which=st.integers(0, NEWEST - 1), statuses=st.lists(st.sampled_from(MOODS), min_size=5, max_size=12)
    )
    def quarrel(self, which: int, statuses: list[SidebarStatus]) -> None:
        """One sidebar is pulled in many directions at once, in every lane."""
        newest = self.sidebars[-NEWEST:]
        for place, status in enumerate(statuses):
            fields = {"sidebar_id": newest[which % len(newest)], "new_status": status.value}
            asked = message("sidebar_status_update", **fields)
            self.gathered.append(Command("ada", asked, LANES[place % len(LANES)]))

    @precondition(lambda self: self.asked or self.gathered)
    @rule(place=st.integers(0, 99), lane=st.sampled_from(LANES))
    def deliver_again(self, place: int, lane: str) -> None:
        """The same command, perhaps in another lane, so that it may even overtake itself."""
        known = [*self.asked, *self.gathered]
        self.gathered.append(replace(known[place % len(known)], lane=lane))

    @rule(which=st.integers(0, 1), moment=st.integers(0, 12), luck=st.integers(1, DIE))
    def kill(self, which: int, moment: int, luck: int) -> None:
        if luck <= self.floor.deadly:
            self.victim = (which, moment)

    @precondition(lambda self: len(self.gathered) > 5)
    @rule(order=st.randoms(use_true_random=False))
    def let_go(self, order: random.Random) -> None:
        self.floor.run(self.settle(order))

    async def settle(self, order: random.Random) -> None:
        crew = self.floor.crew
        before = crew.position
        wave, self.gathered = overtaking(self.gathered, order), []
        self.asked += wave
        self.floor.commands += len(wave)
        delivering = asyncio.create_task(crew.deliver_all(wave))
        if self.victim is not None:
            which, moment = self.victim
            await delivering
            await crew.grown(before, moment)
            await crew.handlers[which].kill()
            await crew.handlers[which].start()
            self.floor.kills, self.victim = self.floor.kills + 1, None
        await delivering
        await crew.drained()
        self.look(await crew.views(self.prefix))

    def look(self, views: Mapping[str, Mapping[str, Any]]) -> None:
        """Check, and keep the first fault with its whole story: a race seldom comes the same way again."""
        records = self.floor.crew.since(self.start)
        try:
            check(records, self.asked, views)
        except Exception as fault:
            self.floor.fault = self.floor.fault or fault
            self.floor.story = self.floor.story or story(self.asked, records)
            raise

    def teardown(self) -> None:
        self.floor.run(self.settle(random.Random(0)))
        for record in self.floor.crew.since(self.start):
            if record.subject.endswith(".result"):
                self.floor.outcomes[read_object(record.payload)["status"]] += 1


def story(asked: list[Command], records: list[Record]) -> str:
    lines = [f"{found.agent} in {found.lane}: {write(found.message).decode()}" for found in asked]
    lines += [f"{found.sequence} {found.subject} {found.headers} {found.payload!r}" for found in records]
    return "\n".join(lines)


def overtaking(commands: list[Command], order: random.Random) -> list[Command]:
    """The same commands; of one agent in its order, of several agents in any."""
    lines = {agent: [found for found in commands if found.agent == agent] for agent in AGENTS}
    mixed = []
    while waiting := [agent for agent, line in lines.items() if line]:
        mixed.append(lines[order.choice(waiting)].pop(0))
    return mixed


async def in_one_loop(folder: Path) -> Crew:
    crew = await Crew.assemble(folder, AGENTS)
    crew.handlers += [InLoop(name, crew.server.address()) for name in ("left", "right")]
    await asyncio.gather(*(handlers.start() for handlers in crew.handlers))
    return crew


async def in_two_processes(folder: Path) -> Crew:
    crew = await Crew.assemble(folder, AGENTS)
    for name in ("left", "right"):
        (folder / name).mkdir()
        crew.handlers.append(InProcess(crew.server, folder / name))
    await asyncio.gather(*(handlers.start() for handlers in crew.handlers))
    return crew


@pytest.fixture(params=[in_one_loop, in_two_processes], ids=["in one loop", "in two processes"])
def floor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Floor]:
    with asyncio.Runner() as runner:
        crew = runner.run(request.param(tmp_path))
        yield Floor(runner, crew)
        runner.run(crew.dismiss())


def walk(floor: Floor, examples: int) -> None:
    class WalkHere(Walk):
        def __init__(self) -> None:
            super().__init__(floor)

    try:
        run_state_machine_as_test(
            WalkHere,
            settings=settings(
                max_examples=examples,
                stateful_step_count=30,
                deadline=None,
                derandomize=examples == SHORT,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        if floor.fault is not None:
            print(floor.story)
            raise floor.fault
    print(f"{examples} examples, {floor.commands} deliveries, {floor.kills} kills, {dict(floor.outcomes)}")


@pytest.mark.timeout(300)
def test_whatever_agents_ask_of_two_handlers_the_invariants_hold(floor: Floor) -> None:
    walk(floor, SHORT)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("floor", [in_two_processes], ids=["in two processes"], indirect=True)
def test_in_a_thousand_walks_the_invariants_hold(floor: Floor) -> None:
    floor.deadly = SELDOM
    walk(floor, LONG)
