"""The checker: whether what everybody was told, and what lies in the log, can both be true. Pure.

It reads the log once, in order, and holds of each agent only what the diaries hold already.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from typing import NamedTuple

from tests.campaign.history import Diary, Logged, Missed, Sent, Visit

SHOWN = 20
NEVER_LEFT_OUT = ("security_emergency", "critical_failure", "critical")


class Violation(NamedTuple):
    """A rule that was broken: by which name, for whom, where in the log, and how in words."""

    rule: str
    agent: str
    position: int
    story: str


class Verdict:
    """What was found; of each rule only the first violations are kept, and all are counted."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.by_rule: Counter[str] = Counter()
        self.deliveries = 0
        self.redelivered = 0
        self.named_in_gaps = 0
        self.logged = 0

    def broken(self, rule: str, agent: str, position: int, story: str) -> None:
        self.by_rule[rule] += 1
        if self.by_rule[rule] <= SHOWN:
            self.violations.append(Violation(rule, agent, position, story))


class Heard(NamedTuple):
    """One delivery: where, over which visit, as which one of it, with which content."""

    position: int
    visit: int
    index: int
    print: int


class Gap(NamedTuple):
    """A gap of one agent: over which visit, the how-manieth of it, and what was fetched of it."""

    visit: int
    place: int
    missed: Missed
    fetched: frozenset[int]


class Listener:
    """One agent while the log is read."""

    def __init__(self, diary: Diary) -> None:
        self.diary = diary
        self.ahead = _in_log_order(diary)
        self.next = next(self.ahead, None)
        self.last_of: dict[tuple[int, str, str], int] = {}
        self.left_out: Counter[tuple[int, int, str]] = Counter()
        self.gaps = [
            Gap(number, place, missed, frozenset(missed.fetched))
            for number, visit in enumerate(diary.visits)
            for place, missed in enumerate(visit.missed)
        ]

    def at(self, position: int) -> list[Heard]:
        """Everything it heard up to and including a position that was not asked for before."""
        found = []
        while self.next is not None and self.next.position <= position:
            found.append(self.next)
            self.next = next(self.ahead, None)
        return found

    def named(self, entry: Logged) -> Iterator[Gap]:
        """The gaps that name an event."""
        return (gap for gap in self.gaps if gap.missed.names(entry.position, entry.lane))


class Checker:
    """Reads the log and compares."""

    def __init__(self, diaries: Sequence[Diary]) -> None:
        self.verdict = Verdict()
        self._listeners = [Listener(diary) for diary in diaries]
        self._diaries = {diary.name: diary for diary in diaries}
        self._rooms: dict[str, frozenset[str]] = {}
        self._copies: Counter[tuple[str, str]] = Counter()
        self._ids: set[tuple[str, str, str, str]] = set()
        self._results: Counter[tuple[str, str]] = Counter()
        self._last_sent: dict[tuple[str, str], int] = {}

    def read(self, entry: Logged) -> None:
        """The next event of the log."""
        self.verdict.logged += 1
        before = self._rooms.get(entry.to[1], frozenset())
        if entry.members is not None:
            self._rooms[entry.to[1]] = entry.members
        readers = before | self._rooms.get(entry.to[1], frozenset())
        self._said(entry)
        for listener in self._listeners:
            entitled = _entitled(listener.diary.name, entry, readers)
            self._heard(listener, entry, entitled)

    def finish(self) -> Verdict:
        for listener in self._listeners:
            for heard in listener.at(1 << 62):
                self._broken(
                    "not in the log", listener, heard.position, "It was delivered, and lies nowhere."
                )
            self._gaps(listener)
            self._visits(listener)
            for sent in listener.diary.sent.values():
                self._answered(listener.diary, sent)
        return self.verdict

    # ---- what was heard

    def _heard(self, listener: Listener, entry: Logged, entitled: bool) -> None:
        heard = listener.at(entry.position)
        here = [one for one in heard if one.position == entry.position]
        for one in heard:
            if one.position != entry.position:
                self._broken("not in the log", listener, one.position, "It was delivered, and lies nowhere.")
        if not entitled:
            if here:
                self._broken("not entitled", listener, entry.position, f"It was for {entry.to}.")
            return
        for one in here:
            self._check(listener, entry, one)
        self._once(listener, entry, here)
        self._complete(listener, entry, heard=bool(here))

    def _check(self, listener: Listener, entry: Logged, one: Heard) -> None:
        self.verdict.deliveries += 1
        if one.print != entry.print:
            self._broken("changed", listener, entry.position, "What was delivered is not what is stored.")
        if one.position <= listener.diary.visits[one.visit].begun:
            self._broken("before its cursor", listener, entry.position, f"Visit {one.visit} began behind it.")
        line = (one.visit, entry.lane, entry.sender)
        last = listener.last_of.get(line, -1)
        if one.index < last:
            story = f"Visit {one.visit} heard it before an older one of {entry.sender} in {entry.lane}."
            self._broken("order", listener, entry.position, story)
        listener.last_of[line] = max(last, one.index)

    def _once(self, listener: Listener, entry: Logged, here: list[Heard]) -> None:
        visits = [one.visit for one in here]
        self.verdict.redelivered += max(0, len(set(visits)) - 1)
        if len(visits) != len(set(visits)):
            self._broken("twice", listener, entry.position, f"Over the visits {visits}.")

    def _complete(self, listener: Listener, entry: Logged, *, heard: bool) -> None:
        diary = listener.diary
        if not diary.since < entry.position <= diary.until:
            return
        named = False
        for gap in listener.named(entry):
            named = True
            listener.left_out[(gap.visit, gap.place, entry.lane)] += 1
            if entry.lane in NEVER_LEFT_OUT:
                self._broken("left out", listener, entry.position, f"A gap named an event of {entry.lane}.")
            if gap.missed.whole and entry.position not in gap.fetched:
                self._broken("not fetched", listener, entry.position, "A gap named it, and fetching did not.")
        self.verdict.named_in_gaps += named
        if not heard and not named:
            story = f"{entry.message_id} of {entry.sender} in {entry.lane} for {entry.to}"
            self._broken("lost", listener, entry.position, story)

    def _gaps(self, listener: Listener) -> None:
        for gap in listener.gaps:
            for lane, count in gap.missed.by_lane.items():
                found = listener.left_out[(gap.visit, gap.place, lane)]
                last = gap.missed.spans[lane][1]
                if found != count and last <= listener.diary.until:
                    self._broken(
                        "gap count", listener, last, f"It says {count} of {lane}; there are {found}."
                    )

    def _visits(self, listener: Listener) -> None:
        for number, visit in enumerate(listener.diary.visits):
            self._began(listener, number, visit)

    def _began(self, listener: Listener, number: int, visit: Visit) -> None:
        if visit.outcome == "gap":
            self._broken(
                "log lost",
                listener,
                visit.begun,
                f"Visit {number} showed {visit.shown}, was told: {visit.failure}",
            )
        elif visit.shown is not None and visit.begun != visit.shown:
            story = f"Visit {number} showed {visit.shown} and was told {visit.begun}."
            self._broken("begun elsewhere", listener, visit.begun, story)
        elif visit.shown is None and visit.begun < visit.owed:
            story = f"Visit {number} began at {visit.begun}; {visit.owed} was acknowledged."
            self._broken("acknowledged and forgotten", listener, visit.begun, story)

    # ---- what was said

    def _said(self, entry: Logged) -> None:
        place = (entry.sender, entry.message_id, *entry.to)
        if place in self._ids:
            self.verdict.broken("applied twice", entry.sender, entry.position, f"{entry.message_id} again.")
        self._ids.add(place)
        self._copies[(entry.sender, entry.message_id)] += 1
        if entry.answers is not None:
            self._results[(entry.to[1], entry.answers)] += 1
        diary = self._diaries.get(entry.sender)
        sent = diary.sent.get(entry.message_id) if diary else None
        if diary is None or sent is None or not sent.copies or sent.answer != "accepted":
            return
        self._in_line(diary, sent, entry)
        if sent.copies == 1 and sent.position != entry.position:
            story = f"{sent.message_id} was accepted at {sent.position}."
            self.verdict.broken("accepted elsewhere", diary.name, entry.position, story)

    def _in_line(self, diary: Diary, sent: Sent, entry: Logged) -> None:
        """What one agent sent over one connection in one lane lies in the log in that order."""
        if sent.retried:
            return
        line = (diary.name, sent.line)
        order = self._last_sent.get(line, -1)
        if sent.order < order:
            story = f"{sent.message_id} was sent before what lies before it, in {sent.line}."
            self.verdict.broken("order of sending", diary.name, entry.position, story)
        self._last_sent[line] = max(order, sent.order)

    def _answered(self, diary: Diary, sent: Sent) -> None:
        key = (diary.name, sent.message_id)
        found, results = self._copies[key], self._results[key]
        told = self.verdict.broken
        if sent.accepted > 1 or sent.repeated_wrongly:
            told(
                "accepted twice", diary.name, sent.position, f"{sent.message_id}: a repetition was accepted."
            )
        if sent.surprise is not None:
            told("refused for no reason", diary.name, 0, f"{sent.message_id}: {sent.surprise}")
        match sent.answer:
            case "refused":
                if sent.copies and found:
                    told("refused and stored", diary.name, 0, sent.message_id)
            case "accepted" | "duplicate":
                if sent.copies and found != sent.copies:
                    story = f"{sent.message_id}: {found} of {sent.copies} are in the log."
                    told("accepted and gone", diary.name, sent.position, story)
                if not sent.copies and results != 1:
                    story = f"{sent.message_id} has {results} results."
                    told("not one result", diary.name, sent.position, story)
            case None:
                told("unanswered", diary.name, 0, f"{sent.message_id} was never answered.")

    def _broken(self, rule: str, listener: Listener, position: int, story: str) -> None:
        self.verdict.broken(rule, listener.diary.name, position, story)


def check(log: Iterable[Logged], diaries: Sequence[Diary]) -> Verdict:
    """Everything that is wrong. The log comes in order; it may be read page by page."""
    checker = Checker(diaries)
    for entry in log:
        checker.read(entry)
    return checker.finish()


def _entitled(agent: str, entry: Logged, readers: frozenset[str]) -> bool:
    match entry.to:
        case ("all", _) | ("ctx", "main"):
            return True
        case ("inbox", owner):
            return owner == agent
    return agent in readers


def _in_log_order(diary: Diary) -> Iterator[Heard]:
    """All deliveries of all visits, by position."""
    return merge(*(_sorted(number, visit) for number, visit in enumerate(diary.visits)))


def _sorted(number: int, visit: Visit) -> Iterator[Heard]:
    for index in array("L", sorted(range(len(visit.positions)), key=visit.positions.__getitem__)):
        yield Heard(visit.positions[index], number, index, visit.prints[index])
