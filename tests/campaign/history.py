"""What a campaign remembers: what lies in the log, what each agent was told and said, and what was answered.

A delivery takes sixteen bytes, whatever was delivered; a message that was sent, one small object.
"""

from __future__ import annotations

import json
import zlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

To = tuple[Literal["ctx", "inbox", "all"], str]
"""Whom an event is for: a context, one agent, or everyone."""


def fingerprint(event: Mapping[str, Any]) -> int:
    """Four bytes of an event's content, without its cursor."""
    told = {name: value for name, value in event.items() if name != "cursor"}
    return zlib.crc32(json.dumps(told, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True)
class Logged:
    """One event as it lies in the log. `members`: who is in the sidebar from here on, for its life only.

    `answers`: the message whose result this is.
    """

    position: int
    sender: str
    message_id: str
    lane: str
    to: To
    print: int
    members: frozenset[str] | None = None
    answers: str | None = None


@dataclass(slots=True)
class Missed:
    """What a `gap` named. `fetched` is whole once the client fetched all of it."""

    spans: dict[str, tuple[int, int]]
    by_lane: dict[str, int]
    fetched: array[int] = field(default_factory=lambda: array("Q"))
    whole: bool = False

    def names(self, position: int, lane: str) -> bool:
        first, last = self.spans.get(lane, (1, 0))
        return first <= position <= last


@dataclass(slots=True)
class Visit:
    """One welcomed connection of an agent, and what came over it, in order.

    `shown` is the cursor the client asked to go on from, None if it left that to the server's memory.
    `begun` is where the welcome says it stands. `owed` is what the server must remember at least.
    """

    begun: int
    shown: int | None = None
    outcome: str = "resumed"
    owed: int = 0
    failure: str | None = None
    positions: array[int] = field(default_factory=lambda: array("Q"))
    prints: array[int] = field(default_factory=lambda: array("Q"))
    missed: list[Missed] = field(default_factory=list)

    def hear(self, position: int, print_: int) -> None:
        self.positions.append(position)
        self.prints.append(print_)


Answer = Literal["accepted", "duplicate", "refused"]


@dataclass(slots=True)
class Sent:
    """One message of an agent. `line` names what it was sent along with: a lane of one connection.

    `copies`: how many events it makes; 0 for a command, whose `result` a handler stores. `surprise`: why it
    was refused, if nothing it asked for explains that.
    """

    message_id: str
    order: int
    line: str
    copies: int = 1
    answer: Answer | None = None
    position: int = 0
    accepted: int = 0
    repeated_wrongly: bool = False
    surprise: str | None = None
    retried: bool = False


@dataclass(slots=True)
class Diary:
    """All that one agent lived through. `until` is the position up to which it waited in the end."""

    name: str
    visits: list[Visit] = field(default_factory=list)
    sent: dict[str, Sent] = field(default_factory=dict)
    until: int = 0

    @property
    def since(self) -> int:
        """Where it began to hear."""
        return self.visits[0].begun if self.visits else 0
