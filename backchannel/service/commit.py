"""Giving the log what follows from a decision, if what the decision rests on still holds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import structlog
from pydantic_core import to_json

from backchannel.domain.audit import Deed
from backchannel.domain.canonical import digest
from backchannel.domain.decision import Call, Decision
from backchannel.errors import BackchannelError, Conflict
from backchannel.jetstream.publish import Entry, Fence, covers
from backchannel.protocol.subject import tool_subject
from backchannel.service.house import House

log = structlog.get_logger()

STALE_TRIES = 16
"""How often a decision is made anew because somebody else wrote in between, before its cause waits."""


async def committed(
    house: House, told: Sequence[Entry], fences: Sequence[Fence], decision: Decision, cause: str
) -> bool:
    """False when somebody else wrote what was read: the decision is void and must be made anew.

    Intents are in the audit trail before anything else is stored; all other deeds are noted after it, and
    workers are called.

    Args:
        cause: what the deeds come of; with their content it makes their ids, so that each is kept once.

    Raises:
        Unavailable: the trail or the log did not take it. What it was about is not done.
    """
    known = [replace(deed, id=deed.id or _identity(deed, cause)) for deed in decision.deeds]
    await asyncio.gather(*(house.trail.write(deed) for deed in known if deed.phase == "intent"))
    try:
        if told:
            await house.publisher.commit(told, _on_what_changes(fences, told))
    except Conflict:
        return False
    for deed in known:
        if deed.phase != "intent":
            house.trail.note(deed)
    for call in decision.calls:
        _offer(house, call)
    return True


def _offer(house: House, call: Call) -> None:
    try:
        house.connection.emit(tool_subject(call.group, call.tool), to_json(dict(call.content)))
    except BackchannelError as error:  # the timer offers it again
        log.info("call_not_offered", tool=call.tool, error=error.message)


def _identity(deed: Deed, cause: str) -> str:
    said = [cause, deed.category, deed.entity, deed.action, deed.phase, deed.of, dict(deed.facts)]
    return digest(said)[:32]


def _on_what_changes(fences: Sequence[Fence], told: Sequence[Entry]) -> list[Fence]:
    """The fences around what the decision writes to; what it only read may move on."""
    return [fence for fence in fences if any(covers(fence.subject, entry.subject) for entry in told)]
