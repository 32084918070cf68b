"""Wires at which a handler kills itself with SIGKILL, one for each step of a merge.

The real service runs; only what happens at the chosen step is replaced by the process's sudden end.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any

from backchannel.domain.decision import Decision
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.publish import Entry, Fence, Publisher, Stored
from backchannel.jetstream.work import Delivery
from backchannel.protocol.sidebar import SidebarMerge
from backchannel.service.context import Context
from handlers import sidebar

BEFORE_READ = "before the read"
AFTER_DECISION = "after the decision"
ALL_SENT = "after all of the batch was sent, before the answer"
AFTER_COMMIT = "after the commit, before its answer is acted on"


def sent(count: int) -> str:
    return f"after {count} of the batch were sent"


def arm(step: str) -> None:
    """Put the wire up. It trips at the first merge."""
    match step:
        case "before the read":
            _before_read()
        case "after the decision":
            _after_decision()
        case "after the commit, before its answer is acted on":
            _after_commit()
        case "after all of the batch was sent, before the answer":
            _after_sending(b"Nats-Batch-Commit: 1\r\n")
        case _:
            _after_sending(b"Nats-Batch-Sequence: %d\r\n" % int(step.split()[1]))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _before_read() -> None:
    decide = sidebar.service.answerers["sidebar_merge"]

    async def answerer(command: Any, context: Context) -> Decision:
        if isinstance(command, SidebarMerge):
            _die()
        return await decide(command, context)

    sidebar.service.answerers["sidebar_merge"] = answerer


def _after_decision() -> None:
    async def commit(self: Publisher, entries: Sequence[Entry], fences: Sequence[Fence] = ()) -> Stored:
        if _is_merge(entries):
            _die()
        return await commit_for_real(self, entries, fences)

    commit_for_real = Publisher.commit
    Publisher.commit = commit  # type: ignore[method-assign]


def _after_commit() -> None:
    """The log has the merge; nobody has been told that the command is done."""
    merged = False

    async def commit(self: Publisher, entries: Sequence[Entry], fences: Sequence[Fence] = ()) -> Stored:
        nonlocal merged
        stored = await commit_for_real(self, entries, fences)
        merged = merged or _is_merge(entries)
        return stored

    async def settle(self: Delivery) -> None:
        if merged:
            _die()
        await settle_for_real(self)

    commit_for_real, settle_for_real = Publisher.commit, Delivery.settle
    Publisher.commit = commit  # type: ignore[method-assign]
    Delivery.settle = settle  # type: ignore[method-assign]


def _after_sending(mark: bytes) -> None:
    """The batch up to the message with this header has reached the kernel; at the last one it is stored."""
    merging = False

    async def commit(self: Publisher, entries: Sequence[Entry], fences: Sequence[Fence] = ()) -> Stored:
        nonlocal merging
        merging = merging or _is_merge(entries)
        return await commit_for_real(self, entries, fences)

    def emit(self: Connection, subject: str, payload: bytes, head: bytes = b"", reply: str = "") -> None:
        emit_for_real(self, subject, payload, head, reply)
        if merging and mark in head:
            assert self._keeper.wire is not None
            self._keeper.wire._flush_turn()
            _die()

    commit_for_real, emit_for_real = Publisher.commit, Connection.emit
    Publisher.commit = commit  # type: ignore[method-assign]
    Connection.emit = emit  # type: ignore[method-assign]


def _is_merge(entries: Sequence[Entry]) -> bool:
    return any(entry.headers.get("Bc-Type") == "sidebar_merge" for entry in entries)
