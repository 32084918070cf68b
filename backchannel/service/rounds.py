"""Rounds: what the log of one group tells of who answers whom, and whether agents go round in circles."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from backchannel.delivery.loops import Bounds, Finding, Loops
from backchannel.domain.settings import Settings
from backchannel.jetstream.record import Record
from backchannel.protocol.catalog import AnyMessage
from backchannel.protocol.identifier import MAIN, PLATFORM
from backchannel.protocol.memory import MemoryUpdate
from backchannel.protocol.message import one_form
from backchannel.protocol.sidebar import SidebarMessage
from backchannel.protocol.subject import Destination, InContext, InInbox
from backchannel.service.admit import HOPS

Members = Callable[[str], Collection[str]]
"""Who is in a sidebar now."""


class Rounds:
    """Chains and pairs of one group, as every process reads them from the same log."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._loops = Loops()
        self._window = Settings().loops.window

    def heard(self, record: Record, to: Destination, message: Mapping[str, Any]) -> None:
        """One event of the log, in order."""
        sender = message.get("sender_agent_id")
        if not isinstance(sender, str) or sender == PLATFORM:
            return
        self._loops.note(message["message_id"], sender, _hops(record))
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
        members = frozenset(self._members(context_id))
        return tuple(members - {sender}) if len(members) == 2 and sender in members else ()

    def _answered(self, message: Mapping[str, Any]) -> set[str]:
        found = [self._loops.known(one) for one in causes(message)]
        return {one.sender for one in found if one is not None}


def causes(message: Mapping[str, Any]) -> list[str]:
    """The messages that one answers."""
    named = (message.get("causation_id"), message.get("reply_to"))
    return [one_form(one) for one in named if isinstance(one, str)]


def _hops(record: Record) -> int:
    if not record.bears(HOPS.encode()):
        return 0
    said = (record.headers or {}).get(HOPS, "")
    return int(said) if said.isdecimal() and len(said) < 6 else 0


def _moment(record: Record) -> float:
    return datetime.fromisoformat(record.time).timestamp()
