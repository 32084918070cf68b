"""Overtaking: where one sender has many commands waiting in a lane, the others' first ones go before them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from backchannel.jetstream.connection import Connection
from backchannel.jetstream.page import page
from backchannel.jetstream.record import Record
from backchannel.protocol.subject import COMMANDS, asked, command_subject

SHARE = 16
"""Commands that one sender may have waiting before others are decided between them."""
SEEN_AT_ONCE, MOST_SEEN = 256, 20_000
MOST_BYTES = 1 << 20
MOST_KEPT = 8 << 20
"""Bytes of commands in hand."""
SEEN_ANEW = 8
"""Turns after which everything is looked through again for others of whom something was skipped."""


@dataclass(slots=True)
class Line:
    """The first undecided command of each sender behind the one whose turn it is, as far as was looked.

    Everything in between is put in, in order; of a sender of whom one was skipped nothing later is taken.
    """

    firsts: dict[str, Record] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    seen: deque[tuple[int, str]] = field(default_factory=deque)
    many: Counter[str] = field(default_factory=Counter)
    kept: int = 0

    def put(self, record: Record, *, decided: bool) -> None:
        """The next command of the lane."""
        sender = sender_of(record)
        self.seen.append((record.sequence, sender))
        self.many[sender] += 1
        if decided:
            return
        if sender in self.firsts or sender in self.skipped or self.kept + len(record.payload) > MOST_KEPT:
            self.skipped.add(sender)
            return
        self.firsts[sender] = record
        self.kept += len(record.payload)

    def take(self, sender: str) -> None:
        """The first of this sender has been decided, or waits for its turn from now on."""
        record = self.firsts.pop(sender)
        self.kept -= len(record.payload)

    def advance(self, position: int) -> None:
        """Everything up to here has been settled."""
        while self.seen and self.seen[0][0] <= position:
            _, sender = self.seen.popleft()
            self.many[sender] -= 1
            if not self.many[sender]:
                del self.many[sender]
                self.skipped.discard(sender)
        for sender in [name for name, one in self.firsts.items() if one.sequence <= position]:
            self.take(sender)

    def others(self, sender: str) -> list[Record]:
        """What may go before a command of this sender, in order; nothing while few of its own wait."""
        if self.many[sender] < SHARE:
            return []
        found = [record for name, record in self.firsts.items() if name != sender]
        return sorted(found, key=lambda record: record.sequence)


@dataclass(slots=True)
class Overtaking:
    """One lane's. What it names is decided one at a time, before the command whose turn it is.

    Everything of a sender that is named has been decided up to there. So each sender's own order holds, and
    what comes of a command in its own turn later is that it was decided before.

    Args:
        kinds: what the service answers.
        is_decided: whether a command was decided before its turn.
    """

    connection: Connection
    group: str
    lane: str
    kinds: Collection[str]
    is_decided: Callable[[Record], bool]
    _line: Line = field(default_factory=Line)
    _looked: int = 0
    _turns: int = 0

    async def before(self, head: Record, waiting: int) -> list[Record]:
        """Commands to be decided before this one. Raises Unavailable.

        Args:
            waiting: how many commands of the lane wait behind it.
        """
        self._line.advance(head.sequence)
        if waiting < SHARE:
            return []
        self._turns += 1
        seen_all = len(self._line.seen) >= min(waiting, MOST_SEEN)
        missed = self._line.skipped - {sender_of(head)}
        if self._looked < head.sequence or (missed and seen_all and self._turns >= SEEN_ANEW):
            self._line, self._looked, self._turns, seen_all = Line(), head.sequence, 0, False
        if not seen_all:
            await self._look_on()
        return self._line.others(sender_of(head))

    def tried(self, record: Record) -> None:
        """It was decided; or it could not be and comes in its turn, before everything else of its sender."""
        self._line.take(sender_of(record))
        if not self.is_decided(record):
            self._line.skipped.add(sender_of(record))

    async def _look_on(self) -> None:
        found = await page(
            self.connection,
            COMMANDS,
            self._looked,
            limit=SEEN_AT_ONCE,
            filter=command_subject(self.group, self.lane, "*", "*"),
            max_bytes=MOST_BYTES,
        )
        for record in found.records:
            told = asked(record.subject)
            if told is not None and told.type in self.kinds:
                self._line.put(record, decided=self.is_decided(record))
        self._looked = max(self._looked, found.last_sequence_scanned)


def sender_of(record: Record) -> str:
    """Whose command it is."""
    found = asked(record.subject)
    return found.agent if found is not None else ""
