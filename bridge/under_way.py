"""Under way: what each sender has on its way to the log behind a fence; a refusal changes no order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from backchannel.jetstream.entry import Fence

Owner = tuple[str, str]
Again = Callable[[], Coroutine[Any, Any, None]]


class _Sender:
    __slots__ = ("count", "fences", "redoing", "refused", "settled")

    def __init__(self) -> None:
        self.count = 0
        self.fences: dict[str, tuple[int, int]] = {}
        """For each filter the position it is fenced by, and how many messages are under way behind it."""
        self.refused: list[tuple[int, Again]] = []
        self.redoing = False
        self.settled = asyncio.Event()


class UnderWay:
    """Messages go to the log many at a time. One that the log refuses, because somebody came or went in its
    sidebar meanwhile, is decided anew. What its sender said after it may not overtake it then.

    So a sender's next message waits while one is decided anew, and while messages are under way behind an
    older fence of the same sidebar. Holds an entry for each sender that has something under way, no longer.

    Args:
        errand: runs what nobody waits for.
    """

    def __init__(self, errand: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._errand = errand
        self._senders: dict[Owner, _Sender] = {}
        self._number = 0

    def must_wait(self, owner: Owner, fence: Fence | None) -> bool:
        """Whether a message of this sender would overtake an earlier one."""
        sender = self._senders.get(owner)
        if sender is None:
            return False
        if sender.refused or sender.redoing:
            return True
        held = sender.fences.get(fence.subject) if fence is not None else None
        return held is not None and fence is not None and held[0] != fence.sequence

    async def settled(self, owner: Owner) -> None:
        """Wait until nothing of this sender is under way behind a fence."""
        while (sender := self._senders.get(owner)) is not None:
            await sender.settled.wait()

    def begins(self, owner: Owner, fence: Fence) -> int:
        """A message sets out. Returns its number, for `ends`."""
        sender = self._senders.setdefault(owner, _Sender())
        _, behind = sender.fences.get(fence.subject, (0, 0))
        sender.fences[fence.subject] = fence.sequence, behind + 1
        sender.count += 1
        self._number += 1
        return self._number

    def ends(self, owner: Owner, fence: Fence, number: int, again: Again | None = None) -> None:
        """It has its answer. `again` decides it anew, once everything else of its sender is answered."""
        sender = self._senders[owner]
        sequence, behind = sender.fences[fence.subject]
        if behind > 1:
            sender.fences[fence.subject] = sequence, behind - 1
        else:
            del sender.fences[fence.subject]
        sender.count -= 1
        if again is not None:
            sender.refused.append((number, again))
        if sender.count:
            return
        if sender.refused:
            sender.redoing = True
            self._errand(self._redo(owner, sender))
        else:
            self._forget(owner, sender)

    async def _redo(self, owner: Owner, sender: _Sender) -> None:
        try:
            for _, again in sorted(sender.refused, key=lambda one: one[0]):
                await again()
        finally:
            self._forget(owner, sender)

    def _forget(self, owner: Owner, sender: _Sender) -> None:
        del self._senders[owner]
        sender.settled.set()
