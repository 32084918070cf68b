"""Giving the log what follows from decisions, if what each rests on still holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pydantic_core import to_json

from backchannel.domain.audit import Deed
from backchannel.domain.canonical import digest
from backchannel.domain.decision import Call, Decision
from backchannel.errors import BackchannelError, Conflict
from backchannel.jetstream.publish import Entry, Fence, covers
from backchannel.logger import Logger
from backchannel.protocol.subject import tool_subject
from backchannel.service.admit import require_bounded
from backchannel.service.house import House
from backchannel.service.subjects import Subjects, is_pattern

log = Logger(__name__)

STALE_TRIES = 16
"""How often a decision is made anew because somebody else wrote in between, before its cause waits."""
MOST_TOGETHER = 500
MOST_BYTES = 1 << 20
"""Entries, and their bytes, in one commit of several decisions."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A decision, and what the log is to be given.

    Args:
        fences: around all that was read for it.
        cause: what the deeds come of; with their content it makes their ids, so that each is kept once.
        payer: the group and agent whose budget what is told is charged to; None where nobody asked for it.

    Raises:
        TooLarge: it would add more to the log than one message may.
    """

    decision: Decision
    told: Sequence[Entry]
    fences: Sequence[Fence]
    cause: str
    payer: tuple[str, str] | None = None
    deeds: Sequence[Deed] = field(init=False)

    def __post_init__(self) -> None:
        require_bounded(self.told)
        deeds = [replace(deed, id=deed.id or _identity(deed, self.cause)) for deed in self.decision.deeds]
        object.__setattr__(self, "deeds", deeds)

    def on_what_changes(self) -> list[Fence]:
        """The fences around what the decision writes to, and the firm ones; what it only read may move on."""
        subjects = {entry.subject for entry in self.told}
        return [fence for fence in self.fences if fence.firm or _concerns(fence, subjects)]


async def committed(house: House, outcome: Outcome) -> bool:
    """False when somebody else wrote what was read: the decision is void and must be made anew.

    Intents are in the audit trail before anything else is stored; all other deeds are noted after it, and
    workers are called.

    Raises:
        Unavailable: the trail or the log did not take it. What it was about is not done.
    """
    await _intended(house, outcome)
    return await _stored(house, outcome)


async def committed_together(house: House, outcomes: Sequence[Outcome]) -> list[bool]:
    """Several decisions of different senders in as few commits as possible; which of them are stored.

    All intents are in the trail before anything else is stored. If not all can be stored in one piece, each
    is tried by itself. What is not stored must be decided anew; so must what an error leaves open.
    """
    intended = await asyncio.gather(*(_intended(house, one) for one in outcomes), return_exceptions=True)
    ready = [one for one, fault in zip(outcomes, intended, strict=True) if fault is None]
    joint = _joint(ready)
    if len(joint) > 1 and await _stored_as_one(house, joint):
        stored = joint
    else:
        found = await asyncio.gather(*(_stored(house, one) for one in joint), return_exceptions=True)
        stored = [one for one, outcome in zip(joint, found, strict=True) if outcome is True]
    return [any(one is other for other in stored) for one in outcomes]


async def _intended(house: House, outcome: Outcome) -> None:
    await asyncio.gather(*(house.trail.write(deed) for deed in outcome.deeds if deed.phase == "intent"))


async def _stored(house: House, outcome: Outcome) -> bool:
    ours = True
    try:
        if outcome.told:
            stored = await house.publisher.commit(outcome.told, outcome.on_what_changes())
            ours = not (stored.found or stored.duplicate)
    except Conflict:
        return False
    _follow_up(house, outcome, ours=ours)
    return True


async def _stored_as_one(house: House, outcomes: Sequence[Outcome]) -> bool:
    """One try. False also when it is not known: then each by itself finds out whether it is stored."""
    told = [entry for one in outcomes for entry in one.told]
    fences = [fence for one in outcomes for fence in one.on_what_changes()]
    if not await house.publisher.commit_once(told, fences):
        return False
    for one in outcomes:
        _follow_up(house, one, ours=True)
    return True


def _joint(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those that may be stored in one piece: none writes what another one has read or writes."""
    chosen, written, read = list[Outcome](), Subjects(), Subjects()
    entries, size = 0, 0
    for one in outcomes:
        subjects = {entry.subject for entry in one.told}
        fenced = {fence.subject for fence in one.on_what_changes()}
        more, bytes_more = len(one.told), sum(len(entry.payload) for entry in one.told)
        apart = not (written.meets(fenced) or read.meets(subjects))
        fits = entries + more <= MOST_TOGETHER and size + bytes_more <= MOST_BYTES
        if chosen and not (apart and fits):
            continue
        chosen.append(one)
        written.add(subjects)
        read.add(fenced)
        entries, size = entries + more, size + bytes_more
    return chosen


def _follow_up(house: House, outcome: Outcome, *, ours: bool) -> None:
    """Note what came of it. What another process stored in our place may rest on a grant of its own, so
    nobody is called on ours then; the timer that lies beside it will."""
    if ours and outcome.payer is not None:
        house.budget.spend(outcome.payer, sum(entry.size for entry in outcome.told), time.time())
    for deed in outcome.deeds:
        if deed.phase != "intent":
            house.trail.note(deed)
    for call in outcome.decision.calls if ours else ():
        _offer(house, call)


def _offer(house: House, call: Call) -> None:
    try:
        house.connection.emit(tool_subject(call.group, call.tool), to_json(dict(call.content)))
    except BackchannelError as error:  # the timer offers it again
        log.info("call_not_offered", tool=call.tool, error=error.message)


def _identity(deed: Deed, cause: str) -> str:
    said = [cause, deed.category, deed.entity, deed.action, deed.phase, deed.of, dict(deed.facts)]
    return digest(said)[:32]


def _concerns(fence: Fence, subjects: set[str]) -> bool:
    if not is_pattern(fence.subject):
        return fence.subject in subjects
    return any(covers(fence.subject, subject) for subject in subjects)
