"""A merge is there entirely and once, or not at all, wherever in its making the handlers are killed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from backchannel.jetstream.read import Record
from tests.build import message
from tests.handlers.crew import Command, Crew, InProcess
from tests.handlers.invariants import Account, check
from tests.handlers.tripwire import AFTER_COMMIT, AFTER_DECISION, ALL_SENT, BEFORE_READ, sent

MANY = 5
"""One less than a batch has: two sidebars' ends, the parent's record, two stopped timers, the result."""
STEPS = (BEFORE_READ, AFTER_DECISION, *(sent(count) for count in range(1, MANY + 1)), ALL_SENT, AFTER_COMMIT)
AT_ONCE = 5

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one merge: the handlers' end, the log just after it, and in the end."""

    exit_code: int
    at_death: list[Record]
    in_the_end: list[Record]
    commands: list[Command]
    views: dict[str, dict[str, object]]


async def fate_of(step: str, folder: Path) -> Fate:
    """Merge a sidebar with an open child while the handlers are killed at a step; then start others."""
    crew = await Crew.assemble(folder, ["ada", "bob"])
    try:
        return await _merged(crew, InProcess(crew.server, folder, step=step), InProcess(crew.server, folder))
    finally:
        await crew.dismiss()


async def _merged(crew: Crew, doomed: InProcess, heir: InProcess) -> Fate:
    await doomed.start()
    fields = {"parent_sidebar_id": "inner", "child_sidebar_id": "leaf"}
    before = [
        Command("ada", message("sidebar_spawn", sidebar_id="outer", participants=["bob"])),
        Command("ada", message("sidebar_spawn", sidebar_id="inner", parent_id="outer")),
        Command("ada", message("sidebar_child_spawn", **fields)),
    ]
    await crew.deliver_all(before)
    await crew.drained()
    merge = Command("ada", message("sidebar_merge", sidebar_id="inner", open_children="merge"))
    await crew.deliver(merge)
    exit_code = await doomed.ended()
    await crew.settled()
    at_death = list(crew.records)
    crew.handlers.append(heir)
    await heir.start()
    await crew.drained()
    return Fate(exit_code, at_death, list(crew.records), [*before, merge], await crew.views(""))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def fates(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Fate]]:
    """All steps, some side by side: each waits for the moment at which the server gives the command anew."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, step: str) -> Fate:
        async with room:
            return await fate_of(step, tmp_path_factory.mktemp(f"merge-{number}"))

    found = await asyncio.gather(*(one(number, step) for number, step in enumerate(STEPS)))
    yield dict(zip(STEPS, found, strict=True))


def entries_of(merge: Command, records: list[Record]) -> list[Record]:
    key = f"{merge.agent}:{merge.message.message_id}:"
    return [found for found in records if (found.headers or {}).get("Nats-Msg-Id", "").startswith(key)]


@pytest.mark.parametrize("step", STEPS)
async def test_killed_anywhere_in_a_merge_the_log_has_all_of_it_or_nothing(
    fates: dict[str, Fate], step: str
) -> None:
    fate = fates[step]
    assert fate.exit_code == -signal.SIGKILL
    there = len(entries_of(fate.commands[-1], fate.at_death))
    whole = len(entries_of(fate.commands[-1], fate.in_the_end))
    possible = {AFTER_COMMIT: {whole}, ALL_SENT: {0, whole}}
    assert there in possible.get(step, {0})


@pytest.mark.parametrize("step", STEPS)
async def test_killed_anywhere_in_a_merge_it_is_done_entirely_and_once_by_whoever_comes_next(
    fates: dict[str, Fate], step: str
) -> None:
    fate = fates[step]
    check(fate.in_the_end, fate.commands, fate.views)
    assert len(entries_of(fate.commands[-1], fate.in_the_end)) >= 4
    sidebars = Account(fate.in_the_end).sidebars()
    assert {name: found.status.value for name, found in sidebars.items()} == {
        "outer": "active",
        "inner": "merged",
        "leaf": "merged",
    }
    assert [result["sidebar_id"] for result in sidebars["outer"].child_results] == ["inner"]
