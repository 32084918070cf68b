"""Exchanges: what the log of one group tells of who answers whom, kept for as long as loops need it."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

from backchannel.delivery.audience import Membership
from backchannel.delivery.loops import MOST_KNOWN, Bounds, Finding, Loops
from backchannel.domain.settings import Settings
from backchannel.jetstream.record import Record
from backchannel.protocol.catalog import AnyMessage
from backchannel.protocol.identifier import MAIN, PLATFORM
from backchannel.protocol.memory import MemoryUpdate
from backchannel.protocol.sidebar import SidebarMessage
from backchannel.protocol.subject import Destination, InContext, InInbox
from backchannel.service.admit import HOPS

Key = tuple[Literal["message", "reply", "from"], str]
"""What somebody may wait for: a message by its id, an answer to one, anything of somebody."""


class _Hope(NamedTuple):
    """One wait: who waits, what it may see, and from whom it has to come, if that matters."""

    coming: asyncio.Future[tuple[int, bytes]]
    agent: str
    access: frozenset[str]
    sender: str | None


class Exchanges:
    """Chains and pairs of one group, as every bridge reads them from the same log."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._loops = Loops()
        self._window = Settings().loops.window
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
        for cause in _causes(message):
            self._places["reply", cause] = sequence
        _bound(self._places)

    def _wake(self, record: Record, to: Destination, message: Mapping[str, Any], sender: str) -> None:
        keys: list[Key] = [("message", message["message_id"]), ("from", sender)]
        for key in [*keys, *(("reply", cause) for cause in _causes(message))]:
            for hope in self._waiting.get(key, ()):
                fits = hope.sender in (None, sender) and not hope.coming.done()
                if fits and self._membership.sees(hope.agent, to, record.sequence, hope.access):
                    hope.coming.set_result((record.sequence, record.payload))

    # ---- loops

    def heard(self, record: Record, to: Destination, message: Mapping[str, Any]) -> None:
        """One event of the log, in order."""
        sender = message.get("sender_agent_id")
        if not isinstance(sender, str) or sender == PLATFORM:
            return
        message_id: str = message["message_id"]
        self._loops.note(message_id, sender, _hops(record))
        self._place(message, message_id, record.sequence)
        if self._waiting:
            self._wake(record, to, message, sender)
        if isinstance(to, InInbox) and to.kind == "mention":
            self._called.setdefault(message_id, set()).add(to.agent_id)
            _bound(self._called)
        match to:
            case InInbox(owner, "mention"):
                others = {owner}
            case InContext(_, "talk" | "memory"):
                others = set()
            case _:
                return
        others |= self._answered(message) - {sender}
        if others:
            self._loops.exchanged(sender, others, _moment(record), self._window)
        elif isinstance(to, InContext) and (alone := self._alone_with(sender, to.context_id)):
            self._loops.talked(sender, alone[0], _moment(record), self._window)

    def find(self, sender: str, message: AnyMessage, settings: Settings) -> Finding:
        """What comes of a message: how long its chain is, and whether that, or its pair, is too much."""
        said = settings.loops
        self._window = said.window
        match message:
            case SidebarMessage(sidebar_id=place) | MemoryUpdate(context_id=place):
                alone = self._alone_with(sender, place)
            case _:
                alone = ()
        bounds = Bounds(said.max_hops, said.pair_budget, said.window)
        return self._loops.find(sender, message, alone, bounds, time.time())

    def _alone_with(self, sender: str, context_id: str) -> tuple[str, ...]:
        """Who else is in a sidebar of two."""
        if context_id == MAIN:
            return ()
        members = self._membership.members(context_id)
        return tuple(members - {sender}) if len(members) == 2 and sender in members else ()

    def _answered(self, message: Mapping[str, Any]) -> set[str]:
        found = [self._loops.known(one) for one in _causes(message)]
        return {one.sender for one in found if one is not None}


def _causes(message: Mapping[str, Any]) -> list[str]:
    """The messages that one answers."""
    named = (message.get("causation_id"), message.get("reply_to"))
    return [one for one in named if isinstance(one, str)]


def _bound(memory: OrderedDict[Any, Any]) -> None:
    """The oldest are forgotten."""
    while len(memory) > MOST_KNOWN:
        memory.popitem(last=False)


def _hops(record: Record) -> int:
    if not record.bears(HOPS.encode()):
        return 0
    said = (record.headers or {}).get(HOPS, "")
    return int(said) if said.isdecimal() and len(said) < 6 else 0


def _moment(record: Record) -> float:
    return datetime.fromisoformat(record.time).timestamp()
