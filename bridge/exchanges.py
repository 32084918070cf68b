"""Exchanges: who waits for an answer in one group, and what the log tells of who answers whom."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

from backchannel.delivery.audience import Membership
from backchannel.delivery.loops import MOST_KNOWN, Finding
from backchannel.domain.settings import Settings
from backchannel.jetstream.record import Record
from backchannel.protocol.catalog import AnyMessage
from backchannel.protocol.identifier import PLATFORM
from backchannel.protocol.message import one_form
from backchannel.protocol.subject import Destination, InInbox
from backchannel.service.rounds import Rounds, causes

Key = tuple[Literal["message", "reply", "from"], str]
"""What somebody may wait for: a message by its id, an answer to one, anything of somebody."""


class _Hope(NamedTuple):
    """One wait: who waits, what it may see, and from whom it has to come, if that matters."""

    coming: asyncio.Future[tuple[int, bytes]]
    agent: str
    access: frozenset[str]
    sender: str | None


class Exchanges:
    """Waits, recent places, chains and pairs of one group, as every bridge reads them from the same log."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._rounds = Rounds(membership.members)
        self._places: OrderedDict[Key, int] = OrderedDict()
        self._called: OrderedDict[str, set[str]] = OrderedDict()
        self._waiting: dict[Key, list[_Hope]] = {}

    # ---- waiting

    def await_event(
        self, key: Key, agent: str, access: Collection[str], sender: str | None
    ) -> asyncio.Future[tuple[int, bytes]]:
        """The next event of this kind that the agent may see: its position, and what is stored."""
        hope = _Hope(asyncio.get_running_loop().create_future(), agent, frozenset(access), sender)
        self._waiting.setdefault(key, []).append(hope)
        return hope.coming

    def forget(self, key: Key, coming: asyncio.Future[tuple[int, bytes]]) -> None:
        """Nobody waits for that any more."""
        left = [hope for hope in self._waiting.pop(key, ()) if hope.coming is not coming]
        if left:
            self._waiting[key] = left

    def place_of(self, key: Key) -> int | None:
        """Where a recent event lies: a message by its id, or the last answer to one."""
        return self._places.get(key)

    def called(self, key: Key) -> set[str]:
        """Whom the message that is to be answered calls."""
        return self._called.get(key[1], set()) if key[0] == "reply" else set()

    def _place(self, message: Mapping[str, Any], message_id: str, sequence: int) -> None:
        self._places["message", message_id] = sequence
        for cause in causes(message):
            self._places["reply", cause] = sequence
        _bound(self._places)

    def _wake(self, record: Record, to: Destination, message: Mapping[str, Any], sender: str) -> None:
        keys: list[Key] = [("message", one_form(message["message_id"])), ("from", sender)]
        for key in [*keys, *(("reply", cause) for cause in causes(message))]:
            for hope in self._waiting.get(key, ()):
                fits = hope.sender in (None, sender) and not hope.coming.done()
                if fits and self._membership.sees(hope.agent, to, record.sequence, hope.access):
                    hope.coming.set_result((record.sequence, record.payload))

    # ---- what the log says

    def heard(self, record: Record, to: Destination, message: Mapping[str, Any]) -> None:
        """One event of the log, in order."""
        sender = message.get("sender_agent_id")
        if not isinstance(sender, str) or sender == PLATFORM:
            return
        message_id = one_form(message["message_id"])
        self._place(message, message_id, record.sequence)
        if self._waiting:
            self._wake(record, to, message, sender)
        if isinstance(to, InInbox) and to.kind == "mention":
            self._called.setdefault(message_id, set()).add(to.agent_id)
            _bound(self._called)
        self._rounds.heard(record, to, message)

    def find(self, sender: str, message: AnyMessage, settings: Settings) -> Finding:
        """What comes of a message: how long its chain is, and whether that, or its pair, is too much."""
        return self._rounds.find(sender, message, settings)


def _bound(memory: OrderedDict[Any, Any]) -> None:
    """The oldest are forgotten."""
    while len(memory) > MOST_KNOWN:
        memory.popitem(last=False)
