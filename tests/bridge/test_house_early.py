"""An emergency goes ahead of a tail that lags: once, in its lane's order, and whoever resumes loses nothing.

The feed, its early lane, the replay and the ear are the real ones; the log is a list and the wire a notepad.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from backchannel.delivery.cursor import Cursor
from backchannel.delivery.outbox import Bounds
from backchannel.delivery.resume import Course, Standing
from backchannel.jetstream.record import Record
from backchannel.protocol.lane import LANES, RESERVED
from backchannel.protocol.subject import emergencies_in
from bridge import early
from bridge.ear import Ear
from bridge.metrics import Metrics
from bridge.replay import Replay
from bridge.ring import Ring
from bridge.wire import Wire
from tests.bridge.test_house_seam import (
    AGENT,
    INBOX,
    LINE,
    MOVE,
    TURN,
    WRITE,
    Log,
    Paper,
    PaperFeed,
    Step,
    fits,
)

TOP = sorted(lane.value for lane in RESERVED)
ALARM = st.tuples(st.just("alarm"), st.sampled_from(["all", "inbox.ada", "inbox.bob"]), st.sampled_from(TOP))
TAIL = st.tuples(st.just("tail"), st.integers(1, 8), st.none())
EARLY = st.tuples(st.just("early"), st.none(), st.none())
COME = st.tuples(st.just("come"), st.integers(0, 20), st.none())
CALM_LANES = WRITE.filter(lambda step: step[2] not in TOP)
STEPS = st.lists(
    st.one_of(CALM_LANES, CALM_LANES, MOVE, INBOX, ALARM, ALARM, TAIL, EARLY, EARLY, LINE, TURN, COME),
    max_size=80,
)


class Notepad(Paper):
    """Keeps each event's cursor, too."""

    def __init__(self) -> None:
        super().__init__()
        self.cursors: list[str] = []
        self.reported: list[tuple[int, str]] = []

    def send(self, body: bytes) -> None:
        frame = json.loads(body)
        if frame["type"] == "catch_up":
            self.cursors += [event["cursor"] for event in frame["events"]]
        elif frame["type"] == "position":
            self.reported.append((len(self.heard), frame["cursor"]))
        super().send(body)

    def send_frames(self, frames: bytes) -> None:
        rest = frames
        while rest:
            size, start = (rest[1], 2) if rest[1] < 126 else (int.from_bytes(rest[2:4]), 4)
            self.cursors.append(json.loads(rest[start : start + size])["cursor"])
            rest = rest[start + size :]
        super().send_frames(frames)


class Scene:
    """A log that grows, a tail that comes after, and one agent that arrives some time."""

    def __init__(self) -> None:
        self.log, self.paper = Log(), Notepad()
        self.feed = PaperFeed(self.log)
        self.feed.ring = Ring(0, events=10)
        self.looked_at = 0
        self.after = 0
        bounds = Bounds(events=10_000, at_once=100)
        self.ear = Ear(
            cast(Wire, self.paper),
            self.feed,
            Metrics(),
            bounds,
            lambda code, why: None,
            agent=AGENT,
            access=(),
        )
        self.way: asyncio.Task[int] | None = None

    async def play(self, steps: list[Step]) -> None:
        for step in steps:
            await self._step(*step)
        self.paper.paused = False
        self.ear.writable()
        self._come(0)
        self._tail(len(self.log.records))
        assert self.way is not None
        async with asyncio.timeout(20):
            await self.way
        for _ in range(100):
            await asyncio.sleep(0)
        await self.feed.early.close()

    async def _step(self, kind: str, where: Any, what: Any) -> None:
        match kind:
            case "alarm":
                last = "broadcast" if where == "all" else "mention"
                self.log._store(f"bc.main.evt.{where}.{what}.{last}", {}, where != "inbox.bob", False)
            case "tail":
                self._tail(where)
            case "early":
                self._early()
            case "line":
                self.paper.paused = where
                if not where:
                    self.ear.writable()
            case "come":
                self._come(where)
            case "turn":
                for _ in range(where):
                    await asyncio.sleep(0)
            case _:
                self.log.append((kind, where, what))
        self.ear.position()

    def _tail(self, count: int) -> None:
        start = self.feed.position
        for record in self.log.records[start : start + count]:
            self.feed._heard(record)

    def _early(self) -> None:
        for record in self.log.records[self.looked_at :]:
            if any(fits(wanted, record.subject) for wanted in emergencies_in("main")):
                self.feed.early.came(record)
        self.looked_at = len(self.log.records)
        self.feed.early.look()

    def _come(self, back: int) -> None:
        if self.way is None:
            self.feed.fanout.flush()
            self.after = max(0, self.feed.position - back)
            course = Course(self.after, "resumed", Standing("0a0a0a0a", 0, 0))
            replay = Replay(self.feed, self.ear, course, asyncio.Semaphore(2), at_once=3)
            self.way = asyncio.create_task(replay.run())


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_what_went_ahead_comes_once_and_no_cursor_loses_what_it_overtook(steps: list[Step]) -> None:
    scene = Scene()
    asyncio.run(scene.play(steps))
    heard = [sequence for sequence, _ in scene.paper.heard]
    expected = [sequence for sequence in scene.log.visible if sequence > scene.after]
    assert sorted(heard) == expected
    assert scene.ear.delivered == len(heard)
    assert not scene.ear.overtaken
    lane_of = {
        record.sequence: next(lane for lane in LANES if f".{lane}." in record.subject)
        for record in scene.log.records
    }
    for lane in LANES:
        told = [sequence for sequence in heard if lane_of[sequence] == lane]
        assert told == sorted(told)
    shown = [*enumerate(scene.paper.cursors, start=1), *scene.paper.reported]
    for count, cursor in shown:
        until = Cursor.parse(cursor).safe.sequence
        assert {sequence for sequence in expected if sequence <= until} <= set(heard[:count])


def test_an_emergency_does_not_wait_for_a_tail_that_lags() -> None:
    write: Step = ("write", "main", "normal")
    scene = Scene()
    steps: list[Step] = [write, ("tail", 1, None), ("come", 0, None), ("turn", 4, None)]
    steps += [write] * 30 + [("alarm", "all", "security_emergency"), ("early", None, None)]
    asyncio.run(scene.play(steps))
    heard = [sequence for sequence, _ in scene.paper.heard]
    assert heard == [32, *range(2, 32)]
    assert scene.paper.cursors[0] == "0a0a0a0a.32.1"


def test_more_than_may_be_ahead_comes_in_its_turn_and_then_some_go_ahead_again() -> None:
    async def run() -> None:
        scene = Scene()
        scene.feed.fanout.join(scene.ear)
        for number in range(early.MOST_EVENTS + 50):
            alarm = Record.made(
                number + 2,
                "bc.main.evt.all.security_emergency.broadcast",
                b'{"type":"x","message_id":"1","n":%d}' % (number + 2),
            )
            scene.log.records.append(alarm)
            scene.feed.early.came(alarm)
        scene.feed.early.look()
        assert len(scene.paper.heard) == early.MOST_EVENTS
        for record in scene.log.records:
            scene.feed._heard(record)
        scene.feed.fanout.flush()
        scene.feed.early.look()
        last = scene.feed.position + 5
        scene.feed.early.came(
            Record.made(last, alarm.subject, b'{"type":"x","message_id":"1","n":%d}' % last)
        )
        scene.feed.early.look()
        heard = [sequence for sequence, _ in scene.paper.heard]
        assert heard == [*range(2, early.MOST_EVENTS + 52), last]
        await scene.feed.early.close()

    asyncio.run(run())
