"""The seam between what was and what is: nothing is missing there, and nothing comes twice.

The feed, the replay and the ear are the real ones. The log is a list and the wire a notepad, so that
thousands of interleavings can be tried, which no socket would allow.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from backchannel.delivery.outbox import Bounds
from backchannel.delivery.resume import Course, Standing
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.page import Page
from backchannel.jetstream.record import Record
from backchannel.protocol.lane import LANES
from bridge.ear import Ear
from bridge.feed import Feed
from bridge.metrics import Metrics
from bridge.replay import Replay
from bridge.ring import Ring
from bridge.wire import Wire

AGENT = "ada"
ROOMS = ("main", "logins", "tls")
SMALL = 4

Step = tuple[str, Any, Any]
WRITE = st.tuples(st.just("write"), st.sampled_from(ROOMS), st.sampled_from([lane.value for lane in LANES]))
MOVE = st.tuples(st.just("move"), st.sampled_from(ROOMS[1:]), st.booleans())
INBOX = st.tuples(st.just("inbox"), st.sampled_from(["ada", "bob"]), st.just("normal"))
LINE = st.tuples(st.just("line"), st.booleans(), st.none())
TURN = st.tuples(st.just("turn"), st.integers(1, 4), st.none())
STEPS = st.lists(st.one_of(WRITE, WRITE, MOVE, INBOX, LINE, TURN, TURN), max_size=60)


class Log:
    """What is stored, and by the simplest rule there is who may see it."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.members: dict[str, set[str]] = {"logins": set(), "tls": set()}
        self.visible: list[int] = []
        self.personal: list[int] = []

    def append(self, step: Step) -> Record | None:
        kind, where, what = step
        match kind:
            case "write":
                sees = where == "main" or AGENT in self.members[where]
                return self._store(f"bc.main.evt.ctx.{where}.{what}.talk", {}, sees, sees and where != "main")
            case "inbox":
                return self._store(f"bc.main.evt.inbox.{where}.{what}.mention", {}, *[where == AGENT] * 2)
            case "move":
                before = AGENT in self.members[where]
                self.members[where] = {"bob", AGENT} if what else {"bob"}
                event = {"members": sorted(self.members[where]), "status": "active"}
                sees = before or what
                return self._store(f"bc.main.evt.ctx.{where}.normal.life", event, sees, sees)
        return None

    def _store(self, subject: str, event: dict[str, Any], sees: bool, personal: bool) -> Record:
        sequence = len(self.records) + 1
        payload = json.dumps(
            {"type": "x", "message_id": str(sequence), "n": sequence, **event}, separators=(",", ":")
        ).encode()
        self.records.append(Record.made(sequence, subject, payload))
        self.visible += [sequence] if sees else []
        self.personal += [sequence] if personal else []
        return self.records[-1]


class PaperFeed(Feed):
    """A feed whose log is a list, read a few records at a time."""

    def __init__(self, log: Log) -> None:
        super().__init__(cast(Connection, None), "main", Metrics(), lambda feed: None)
        self.epoch = "0a0a0a0a"
        self._log = log

    async def page(self, after: int, wanted: str, until: int) -> Page:
        await asyncio.sleep(0)
        found = [
            record
            for record in self._log.records
            if after < record.sequence <= until and fits(wanted, record.subject)
        ]
        done = len(found) <= SMALL
        part = found[:SMALL]
        await asyncio.sleep(0)
        return Page(part, until if done else part[-1].sequence, done)


def fits(wanted: str, subject: str) -> bool:
    tokens, filters = subject.split("."), wanted.split(".")
    if filters[-1] == ">":
        filters, tokens = filters[:-1], tokens[: len(filters) - 1]
    return len(tokens) == len(filters) and all(
        one in ("*", other) for one, other in zip(filters, tokens, strict=True)
    )


class Paper:
    """A wire that writes down what it is given."""

    def __init__(self) -> None:
        self.paused = False
        self.closing = False
        self.heard: list[tuple[int, str]] = []
        self.gaps = 0

    @property
    def waiting(self) -> int:
        return 8 << 20 if self.paused else 0

    def send(self, body: bytes) -> None:
        frame = json.loads(body)
        match frame["type"]:
            case "catch_up":
                self.heard += [(event["n"], "past") for event in frame["events"]]
            case "gap":
                self.gaps += 1

    def send_frames(self, frames: bytes) -> None:
        while frames:
            size, start = (frames[1], 2) if frames[1] < 126 else (int.from_bytes(frames[2:4]), 4)
            self.heard.append((json.loads(frames[start : start + size])["n"], "now"))
            frames = frames[start + size :]


async def come_back(
    history: list[Step], meanwhile: list[Step], after: int, ring: int, since: int
) -> tuple[Log, Paper]:
    """Write the history, come back to it, and let more happen while the way is still under way."""
    log, paper = Log(), Paper()
    feed = PaperFeed(log)
    feed.ring = Ring(0, events=ring)
    for step in history:
        if (record := log.append(step)) is not None:
            feed._heard(record)
    feed.fanout.flush()
    wire, bounds = cast(Wire, paper), Bounds(events=10_000, at_once=100)
    ear = Ear(wire, feed, Metrics(), bounds, lambda code, reason: None, agent=AGENT, access=())
    course = Course(
        min(after, feed.position), "resumed", Standing("0a0a0a0a", 0, 0), min(since, feed.position)
    )
    way = asyncio.create_task(Replay(feed, ear, course, asyncio.Semaphore(2), at_once=3).run())
    for kind, where, what in meanwhile:
        if (record := log.append((kind, where, what))) is not None:
            feed._heard(record)
        elif kind == "line":
            paper.paused = where
            if not where:
                ear.writable()
        for _ in range(where if kind == "turn" else 0):
            await asyncio.sleep(0)
    paper.paused = False
    ear.writable()
    async with asyncio.timeout(60):
        await way
    for _ in range(200):
        await asyncio.sleep(0)
    return log, paper


@settings(max_examples=300, deadline=None)
@given(STEPS, STEPS, st.integers(0, 60), st.integers(1, 30), st.integers(0, 60))
def test_whatever_happens_meanwhile_all_comes_and_all_comes_once(
    history: list[Step], meanwhile: list[Step], after: int, ring: int, since: int
) -> None:
    log, paper = asyncio.run(come_back(history, meanwhile, after, ring, since))
    written = sum(step[0] in ("write", "move", "inbox") for step in history)
    after, since = min(after, written), min(since, written)
    expected = [
        sequence
        for sequence in log.visible
        if sequence > after and (sequence > since or sequence in log.personal)
    ]
    heard = [sequence for sequence, _ in paper.heard]
    assert sorted(heard) == expected
    assert paper.gaps == 0
    ranks = {record.sequence: record.subject.split(".")[5] for record in log.records}
    past = [sequence for sequence, when in paper.heard if when == "past"]
    assert past == sorted(past)
    for lane in LANES:
        told = [sequence for sequence in heard if ranks[sequence] == lane]
        assert told == sorted(told)


def test_a_crowd_of_listeners_hears_what_a_naive_one_would() -> None:
    """Frames are joined once for each set of audiences; nobody must notice."""

    async def run() -> None:
        log = Log()
        feed = PaperFeed(log)
        papers: list[Paper] = []
        for _ in range(5):
            papers.append(Paper())
            bounds = Bounds(events=10_000)
            wire = cast(Wire, papers[-1])
            ear = Ear(wire, feed, Metrics(), bounds, lambda code, reason: None, agent=AGENT, access=())
            feed.fanout.join(ear)
        for round_number in range(40):
            steps: list[Step] = [("write", room, "normal") for room in ROOMS]
            steps += [
                ("move", "tls", round_number % 3 == 0),
                ("inbox", "ada", "high"),
                ("inbox", "bob", "low"),
            ]
            for step in steps:
                record = log.append(step)
                assert record is not None
                feed._heard(record)
            if round_number % 4 == 0:
                await asyncio.sleep(0)
        feed.fanout.flush()
        for paper in papers:
            assert [sequence for sequence, _ in paper.heard] == log.visible

    asyncio.run(run())


def test_what_is_urgent_now_does_not_overtake_what_was_just_as_urgent_before() -> None:
    def write(lane: str) -> Step:
        return ("write", "main", lane)

    history = [*[write("normal")] * 20, write("critical"), *[write("normal")] * 5]
    meanwhile: list[Step] = [("turn", 4, None), write("critical"), ("turn", 4, None), write("low")]
    for ring in (5, 100):
        _, paper = asyncio.run(come_back(history, meanwhile, 0, ring, 0))
        heard = [sequence for sequence, _ in paper.heard]
        assert sorted(heard) == list(range(1, 29))
        assert heard.index(21) < heard.index(27) < heard.index(20)
