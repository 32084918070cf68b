"""What comes of a message: the events that follow, and what its sender is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backchannel.protocol.lane import Lane
from backchannel.protocol.message import Message
from backchannel.protocol.subject import Destination


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One event that follows, where it goes and in which lane.

    Its ``message_id`` is that of its cause; whoever stores it keeps that for the event that tells the cause
    itself and derives the others from it, so that a repetition derives the same ones.
    """

    to: Destination
    lane: Lane
    message: Message


@dataclass(frozen=True, slots=True)
class Decision:
    """The events that follow from a command, and the fields of its sender's result.

    ``repeated`` says that the command had been applied before: nothing follows, not even a result, because
    all of it lies in the log already.
    """

    events: tuple[Outgoing, ...] = ()
    result: Mapping[str, Any] = field(default_factory=dict)
    repeated: bool = False
