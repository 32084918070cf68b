"""What is to be stored, under which condition, and where it came to lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from backchannel.errors import Internal

MSG_ID = "Nats-Msg-Id"
EXPECTED = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"


@dataclass(frozen=True, slots=True)
class Entry:
    """One message to be stored. `headers` hold its `Nats-Msg-Id`, under which it is stored once."""

    subject: str
    payload: bytes
    headers: Mapping[str, str]

    @property
    def message_id(self) -> str | None:
        return self.headers.get(MSG_ID)

    @property
    def size(self) -> int:
        """Bytes that it adds to its stream: subject, headers, and what it says."""
        lines = sum(len(name) + len(value) + 4 for name, value in self.headers.items())
        return len(self.subject) + lines + len(self.payload)


@dataclass(frozen=True, slots=True)
class Fence:
    """The last sequence on this subject filter must still be this one; 0 means that nothing is there.

    `firm`: also for what writes nothing there, because whether it may be stored at all rests on it.
    """

    subject: str
    sequence: int
    firm: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """Where it lies. `duplicate`: it lay there before we came.

    `found`: it was looked for and found, by its id. Somebody else may have stored it, and not quite the same.
    """

    sequence: int
    duplicate: bool
    stream: str
    found: bool = field(default=False, compare=False)


def fenced(entries: Sequence[Entry], fences: Sequence[Fence]) -> list[Entry]:
    """The entries with the fences in their headers, one to an entry.

    The server refuses a fence on a subject to which an earlier message of the same batch is addressed, so
    each fence has a last place where it may stand: those with the least choice are placed first. A fence
    need not cover the entry that carries it.

    Raises:
        Internal: the entries cannot carry the fences.
    """
    latest = {fence: _last_place(fence, entries) for fence in fences}
    placed = sorted(latest, key=lambda fence: latest[fence])
    if len(placed) > len(entries) or any(place > latest[fence] for place, fence in enumerate(placed)):
        raise Internal("A commit has more fences than its messages can carry.")
    carried: list[Fence | None] = [*placed, *[None] * (len(entries) - len(placed))]
    return [_with_fence(entry, fence) for entry, fence in zip(entries, carried, strict=True)]


def _last_place(fence: Fence, entries: Sequence[Entry]) -> int:
    """The first entry on the very subject of the fence; later ones may not carry it any more."""
    places = (place for place, entry in enumerate(entries) if entry.subject == fence.subject)
    return next(places, len(entries) - 1)


def _with_fence(entry: Entry, fence: Fence | None) -> Entry:
    if fence is None:
        return entry
    headers = {**entry.headers, EXPECTED: str(fence.sequence)}
    if fence.subject != entry.subject:
        headers[EXPECTED_SUBJECT] = fence.subject
    return Entry(entry.subject, entry.payload, headers)


def covers(pattern: str, subject: str) -> bool:
    """Whether a subject filter matches a subject (NATS wildcards `*` and `>`)."""
    wanted, given = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        return len(given) >= len(wanted) and _all_match(wanted[:-1], given)
    return len(given) == len(wanted) and _all_match(wanted, given)


def _all_match(wanted: Sequence[str], given: Sequence[str]) -> bool:
    return all(part in ("*", found) for part, found in zip(wanted, given, strict=False))
