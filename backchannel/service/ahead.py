"""Deciding ahead: with the command whose turn it is, those of other senders that wait behind it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from hashlib import blake2b

from backchannel.jetstream.connection import Connection
from backchannel.jetstream.page import page
from backchannel.jetstream.record import Record
from backchannel.protocol.subject import COMMANDS, asked, command_subject

MOST_SEEN, ENOUGH_SEEN = 64, 32
"""Commands of a lane that are looked at behind the one whose turn it is; with fewer in hand, it is read."""
MOST_BYTES = 1 << 20


@dataclass(slots=True)
class Ahead:
    """What of one lane was decided before its turn. Only this process knows; others find it in the log.

    The first undecided command of each sender may be decided with the one whose turn it is: everything
    before that one is settled, so everything before theirs is decided, too. A command of a kind that is not
    `beside` is never passed.

    Args:
        kinds: what the service answers.
        beside: those of them that different senders may have decided at once.
    """

    connection: Connection
    group: str
    lane: str
    kinds: Collection[str]
    beside: Collection[str]
    _decided: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    _behind: list[Record] = field(default_factory=list)

    def was_decided(self, record: Record) -> bool:
        """Whether the command whose turn it is was decided before; what came earlier is forgotten."""
        for sequence in [known for known in self._decided if known < record.sequence]:
            del self._decided[sequence]
        return self._decided.pop(record.sequence, None) == _mark(record)

    def knows(self, record: Record) -> bool:
        """Whether a command that waits was decided already."""
        return record.sequence in self._decided

    def note(self, record: Record) -> None:
        self._decided[record.sequence] = _mark(record)

    async def beside_of(self, head: Record, waiting: int) -> list[Record]:
        """Commands that may be decided with this one; none if nothing else waits. Raises Unavailable.

        Args:
            waiting: how many commands of the lane wait for their turn.
        """
        if waiting <= len(self._decided) or not self._is_beside(head):
            return []
        await self._read_behind(head)
        return self._chosen(head)

    async def _read_behind(self, head: Record) -> None:
        """Know enough of what comes next in the lane; nothing is left out in between."""
        self._behind = [record for record in self._behind if record.sequence > head.sequence]
        if len(self._behind) >= ENOUGH_SEEN:
            return
        behind = await page(
            self.connection,
            COMMANDS,
            head.sequence,
            limit=MOST_SEEN,
            filter=command_subject(self.group, self.lane, "*", "*"),
            max_bytes=MOST_BYTES,
        )
        self._behind = [record for record in behind.records if _kind(record) in self.kinds]

    def _chosen(self, head: Record) -> list[Record]:
        senders, chosen = {_sender(head)}, list[Record]()
        for record in self._behind:
            if not self._is_beside(record):
                break
            if record.sequence not in self._decided and _sender(record) not in senders:
                senders.add(_sender(record))
                chosen.append(record)
        return chosen

    def _is_beside(self, record: Record) -> bool:
        return _kind(record) in self.beside


def _mark(record: Record) -> tuple[str, bytes]:
    """What tells it from a command of the same number in another life of the stream."""
    return record.subject, blake2b(record.payload, digest_size=16).digest()


def _kind(record: Record) -> str:
    found = asked(record.subject)
    return found.type if found is not None else ""


def _sender(record: Record) -> str:
    found = asked(record.subject)
    return found.agent if found is not None else ""
