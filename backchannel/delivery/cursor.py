"""Cursors: a position in one log, and whether that log can still be read on from there."""

from __future__ import annotations

import re
from dataclasses import dataclass

from backchannel.errors import BadMessage

_NUMBER = "0|[1-9][0-9]{0,18}"
_FORM = re.compile(rf"([0-9a-f]{{8}})\.({_NUMBER})(?:\.({_NUMBER}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position: everything up to and including `sequence` of the log `epoch`.

    `epoch` is eight hexadecimal digits made from the moment the log was created, so that a log that was made
    anew is another one although its numbers look alike.

    An event that was sent before older ones says so: `given` is how far everything had been given by then.
    """

    epoch: str
    sequence: int
    given: int | None = None

    def __str__(self) -> str:
        return f"{self.epoch}.{self.sequence}" + ("" if self.given is None else f".{self.given}")

    @property
    def safe(self) -> Cursor:
        """The position up to which whoever shows this cursor surely has everything."""
        return self if self.given is None else Cursor(self.epoch, min(self.given, self.sequence))

    @classmethod
    def parse(cls, text: str, field: str = "cursor") -> Cursor:
        """
        Raises:
            BadMessage: it is not a cursor of this platform; `field` says where it stood.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise BadMessage(
                f"The cursor {text[:40]!r} is not one this platform gave; leave it out to start from now.",
                field=field,
            )
        return cls(found[1], int(found[2]), int(found[3]) if found[3] else None)


@dataclass(frozen=True, slots=True)
class Extent:
    """What a log holds: positions `first` to `last`. A log that holds nothing has `first` > `last`."""

    epoch: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Continue:
    """Reading can go on with the position after `after`; nothing in between is lost."""

    after: int


@dataclass(frozen=True, slots=True)
class Gap:
    """It cannot: `reason` is a sentence for whoever held the cursor."""

    reason: str


def place(cursor: Cursor, log: Extent) -> Continue | Gap:
    """Where to read on for somebody who has everything up to `cursor`."""
    if cursor.epoch != log.epoch:
        return Gap("The cursor belongs to another log: this one was made anew since.")
    if cursor.sequence + 1 < log.first:
        return Gap(f"The log begins after this cursor: its oldest position is {log.epoch}.{log.first}.")
    if cursor.sequence > log.last:
        return Gap("The cursor is ahead of the log: what it points to was lost, in a power cut for instance.")
    return Continue(cursor.sequence)
