"""What comes of a message: the events that follow, and what its sender is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from backchannel.domain.audit import Deed
from backchannel.protocol.lane import Lane
from backchannel.protocol.message import Message
from backchannel.protocol.subject import Destination


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One event that follows, where it goes and in which lane.

    Its ``message_id`` is that of its cause; whoever stores it keeps that for the event that tells the cause
    itself and derives the others from it, so that a repetition derives the same ones.
    ``keeps_id`` is for what bears its own id already.
    """

    to: Destination
    lane: Lane
    message: Message
    keeps_id: bool = False


@dataclass(frozen=True, slots=True)
class Timer:
    """A moment at which a service is told, whatever dies until then; ``at`` None stops the timer.

    ``name`` is what the service declares, ``key`` an identifier: the same name and key replace each other.
    ``about`` comes back when the moment has come. Whoever is told looks at how things stand then.
    """

    service: str
    name: str
    key: str
    at: datetime | None
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mark:
    """What is known under one name that no two deciders may change at once; a newer mark takes its place.

    `kept` is for how many seconds, at least; without it, for good.
    """

    what: str
    content: Mapping[str, Any] = field(default_factory=dict)
    kept: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A granted call, as it is offered to the workers of a tool."""

    group: str
    tool: str
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Decision:
    """The events that follow from a command, the timers it starts and stops, and its sender's result.

    ``in_order`` names what no two decisions of the group may decide at once: each leaves a mark there that
    the next one must have seen.

    ``deeds`` go to the audit trail: intents before anything else is done, and nothing is done without them;
    all others afterwards.

    ``calls`` are offered once everything else is stored, to whoever listens then; a timer has to see to those
    that nobody took.

    ``repeated`` says that the command had been applied before: nothing follows, not even a result, because
    all of it lies in the log already.
    """

    events: tuple[Outgoing, ...] = ()
    result: Mapping[str, Any] = field(default_factory=dict)
    repeated: bool = False
    timers: tuple[Timer, ...] = ()
    in_order: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()
    deeds: tuple[Deed, ...] = ()
    calls: tuple[Call, ...] = ()
