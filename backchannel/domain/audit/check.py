"""Checking one copy of a chain, record by record, with no more in hand than the last hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from backchannel.domain.audit.link import GENESIS, Damaged, Link, read_link
from backchannel.domain.audit.proof import ACTION, Checkpoint, read_checkpoint

MOST_TOLD = 20
Kind = Literal[
    "damaged", "missing", "repeated", "misplaced", "broken", "foreign", "differs", "truncated", "checkpoint",
    "anchor", "unprotected", "unreadable",
]  # fmt: skip
Genuine = Callable[[Checkpoint], bool]
"""Whether the platform signed it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `where` in the copy: a file and line, a row, a sequence of the stream."""

    kind: Kind
    position: int
    where: str
    detail: str


@dataclass(slots=True)
class Receipt:
    """What was found in one copy. `digest` is SHA-256 over all records, each with a line feed after it."""

    copy: str
    records: int = 0
    first: int | None = None
    last: int | None = None
    hash: str = GENESIS
    digest: str = ""
    checkpoints: int = 0
    sealed: int = 0
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0

    def blame(self, kind: Kind, position: int, where: str, detail: str) -> None:
        self.problem_count += 1
        if len(self.problems) < MOST_TOLD:
            self.problems.append(Problem(kind, position, where, detail))

    def shown(self) -> dict[str, Any]:
        return asdict(self)


class Check:
    """Takes the records of one copy of one group's chain, in the order in which they lie there.

    Args:
        genuine: how signatures are checked; None checks none.
        anchors: hashes by position, as checkpoints outside the platform have them.
    """

    def __init__(
        self, copy: str, group: str, genuine: Genuine | None = None, anchors: Mapping[int, str] | None = None
    ) -> None:
        self.receipt = Receipt(copy)
        self._group = group
        self._genuine = genuine
        self._anchors = dict(anchors or {})
        self._digest = hashlib.sha256()
        self._expected = 1
        self._hash: str | None = (
            GENESIS  # None behind what could not be read: nothing can be said of the next
        )

    @property
    def expected(self) -> int:
        """The position that comes next."""
        return self._expected

    def take(self, body: bytes, where: str, row: int | None = None) -> int:
        """One record; the position it has, or should have. `row` is where the copy says that it belongs."""
        self._digest.update(body + b"\n")
        self.receipt.records += 1
        try:
            link = read_link(body)
        except Damaged as problem:
            position = row if row is not None else self._expected
            self.receipt.blame("damaged", position, where, f"the record is damaged: {problem}")
            self._step(position, None)
            return position
        if row is not None and row != link.position:
            self._blame("misplaced", link, where, f"the record {link.position} lies at {row}")
        self._judge(link, where)
        self._step(link.position, link.hash)
        return link.position

    def finish(self, until: int) -> Receipt:
        """Nothing more comes. `until` is the last position that must be there."""
        if self._expected <= until:
            missing = _range(self._expected, until)
            self.receipt.blame(
                "truncated", self._expected, "at the end", f"it ends too early: {missing} missing"
            )
        for position in sorted(self._anchors):
            self.receipt.blame(
                "anchor",
                position,
                "in the anchor file",
                f"the record {position} is anchored, and is not there",
            )
        self.receipt.digest = self._digest.hexdigest()
        return self.receipt

    def _judge(self, link: Link, where: str) -> None:
        if link.fields["group"] != self._group:
            self._blame("foreign", link, where, f"it belongs to the group {link.fields['group']!r}")
        if link.position < self._expected:
            self._blame("repeated", link, where, f"the record {link.position} comes again, or out of order")
        elif link.position > self._expected:
            missing = _range(self._expected, link.position - 1)
            self.receipt.blame("missing", self._expected, where, f"{missing} missing before this")
        elif self._hash is not None and link.previous != self._hash:
            self._blame("broken", link, where, "it does not name the hash of the record before it")
        anchored = self._anchors.pop(link.position, None)
        if anchored is not None and anchored != link.hash:
            self._blame("anchor", link, where, "it does not have the hash that is anchored")
        if link.fields["action"] == ACTION and link.fields["category"] == "platform":
            self._judge_checkpoint(link, where)

    def _judge_checkpoint(self, link: Link, where: str) -> None:
        said = read_checkpoint(self._group, link.fields["facts"])
        if said is None:
            self._blame("checkpoint", link, where, "the checkpoint cannot be read")
        elif self._genuine is not None and not self._genuine(said):
            self._blame("checkpoint", link, where, "the signature of the checkpoint is not the platform's")
        elif (said.claim.position, said.claim.hash) != (link.position - 1, link.previous):
            self._blame("checkpoint", link, where, "the checkpoint was signed over another chain")
        else:
            self.receipt.checkpoints += 1
            self.receipt.sealed = said.claim.position

    def _blame(self, kind: Kind, link: Link, where: str, detail: str) -> None:
        self.receipt.blame(kind, link.position, where, detail)

    def _step(self, position: int, own: str | None) -> None:
        receipt = self.receipt
        receipt.first = position if receipt.first is None else receipt.first
        receipt.last, receipt.hash = position, own or receipt.hash
        if position >= self._expected:
            self._expected = position + 1
        self._hash = own


def _range(first: int, last: int) -> str:
    return f"record {first} is" if first == last else f"records {first} to {last} are"
