"""An agent of a campaign: a client that knows the wire and nothing else, and has bad habits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, WebSocketException

from tests.build import NOON
from tests.campaign.history import Diary, Missed, Sent, Visit, fingerprint

Frame = dict[str, Any]
NARROW = 8192
"""Bytes the kernel keeps for a client, so that one that stalls is felt at once."""

MOST_WAITING = 32
WRITTEN_WITHIN = 2.0
"""Seconds after which the server must remember what was acknowledged before an orderly end."""

PATIENCE = 40.0
ASKED_AGAIN = ("queue_full", "rate_limited", "unavailable", "degraded")
PRIORITIES = ("critical", "high", "normal", "low", "background")
CLOSED = ("merged", "archived", "failed")
EXPECTED = ("forbidden", "not_found", "illegal_transition")
"""Errors that whoever speaks of any sidebar may meet."""

MOODS = ("testing", "active", "reviewing", "waiting")


class Ended(Exception):
    """The connection is no more."""


class Rooms:
    """Sidebars that were asked for, so that agents meet."""

    def __init__(self) -> None:
        self.names: deque[str] = deque(maxlen=12)

    def any(self, chance: random.Random) -> str:
        return chance.choice(self.names) if self.names else "main"


def position(cursor: str) -> int:
    return int(cursor.split(".")[1])


class Actor:
    """One agent. Everything it does is drawn from its own chance; what it lives through is in its diary."""

    def __init__(
        self,
        name: str,
        token: str,
        url: Callable[[], str],
        cast: list[str],
        rooms: Rooms,
        chance: random.Random,
    ) -> None:
        self.diary = Diary(name)
        self.counts: Counter[str] = Counter()
        self.owing: set[str] = set()
        self.heard: set[str] = set()
        self.vanish = asyncio.Event()
        self.stall = 0.0
        self.calm = True
        self._token, self._url, self._cast, self._rooms, self._chance = token, url, cast, rooms, chance
        self._session: str | None = None
        self._reach: str | None = None
        self._owed = 0
        self._acked = 0
        self._left_at = 0.0
        self._waiting: dict[str, tuple[Frame, Sent]] = {}
        self._recent: deque[tuple[Frame, Sent]] = deque(maxlen=20)
        self._repeats: set[str] = set()
        self._mine: set[str] = set()
        self._results: set[str] = set()
        self._fetching: dict[str, Missed] = {}
        self._visit: Visit | None = None
        self._live = asyncio.Event()
        self._order = 0
        self._answers = asyncio.Event()

    @property
    def name(self) -> str:
        return self.diary.name

    # ---- coming and going

    async def live(self, over: asyncio.Event) -> None:
        """Come and go until it is over."""
        while not over.is_set():
            if self._chance.random() < 0.3:
                with contextlib.suppress(TimeoutError):  # away, while others go on
                    await asyncio.wait_for(over.wait(), self._chance.uniform(0.0, 6.0))
            if self._chance.random() < 0.1:
                self.stall = self._chance.uniform(0.5, 3.0)  # in the middle of its catch-up
            stay = self._chance.uniform(1.0, 8.0)
            await self.visit(lambda socket, stay=stay: self._carry_on(socket, stay, over))

    async def settle(self) -> None:
        """Have everything answered, and hear every result."""
        async with asyncio.timeout(PATIENCE):
            while self._waiting or self.owing:
                await self.visit(self._until_settled)

    async def hear(self, message_id: str) -> None:
        """Wait for one event, over as many connections as it takes."""

        async def there(socket: ClientConnection) -> None:
            while message_id not in self.heard:
                await self._more()

        async with asyncio.timeout(PATIENCE):
            while message_id not in self.heard:
                await self.visit(there)

    async def say(self, **fields: Any) -> Frame:
        """One message, until it is answered."""
        frame = self._message("memory_update", context_id="main", exchange={"content": "x"}, **fields)
        self._prepare(frame, copies=1)
        async with asyncio.timeout(PATIENCE):
            while frame["message_id"] in self._waiting:
                await self.visit(self._until_settled)
        return frame

    async def visit(self, work: Callable[[ClientConnection], Any]) -> None:
        """One connection, from the dial to its end; `work` runs once it is welcome."""
        try:
            link = await self._dial()
        except (OSError, TimeoutError, InvalidHandshake, WebSocketException):
            self.counts["not let in"] += 1
            await asyncio.sleep(self._chance.uniform(0.1, 0.6))
            return
        try:
            await self._come_in(link)
            await self._together(link, work)
        except (Ended, OSError, WebSocketException, TimeoutError):
            self.counts["broken connections"] += 1
        finally:
            self._visit = None
            self._fetching.clear()
            link.transport.abort()
            with contextlib.suppress(Exception):
                await link.wait_closed()

    async def _dial(self) -> ClientConnection:
        where = urlsplit(self._url())
        assert where.hostname is not None
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
        narrow.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(narrow, (where.hostname, where.port))
            return await connect(
                self._url(),
                sock=narrow,
                additional_headers={"X-Memory-Auth": self._token},
                max_size=None,
                max_queue=2,
                compression=None,
                ping_interval=None,
                open_timeout=10,
                close_timeout=2,
            )
        except BaseException:
            narrow.close()
            raise

    async def _come_in(self, link: ClientConnection) -> None:
        """Say hello in one of the ways to resume, and take note of the welcome."""
        self.counts["connections"] += 1
        shown = self._reach if self._reach and self._chance.random() < 0.6 else None
        session = self._session if self._chance.random() < 0.7 else None
        hello: Frame = {"type": "hello"}
        if shown or session:
            hello["resume"] = {"session": session, "cursor": shown}
        await link.send(json.dumps(hello))
        frame = json.loads(await asyncio.wait_for(link.recv(), 20))
        if frame["type"] != "welcome":
            await self._turned_away(link, frame)
        self._session = frame["session"]
        remembered = asyncio.get_running_loop().time() - self._left_at > WRITTEN_WITHIN
        begun, owed = position(frame["cursor"]), self._owed if remembered and not shown else 0
        self._visit = Visit(begun, position(shown) if shown else None, frame["outcome"], owed)
        self._visit.failure = frame.get("resume_failure")
        if self.diary.visits or frame["outcome"] != "live_only":
            self.counts[f"resumed by {'cursor' if shown else 'memory'}"] += 1
        self.diary.visits.append(self._visit)
        self._reach = frame["cursor"]
        self._owed = self._acked = 0
        self._live.clear()

    async def _turned_away(self, link: ClientConnection, frame: Frame) -> None:
        """Why, and what to do otherwise next time."""
        self.counts["turned away"] += 1
        with contextlib.suppress(WebSocketException, TimeoutError):
            await asyncio.wait_for(link.recv(), 5)
        if link.close_code == 4410:
            self._session = None
        await asyncio.sleep(self._chance.uniform(0.2, 1.0))
        raise Ended(frame.get("code"))

    async def _together(self, link: ClientConnection, work: Callable[[ClientConnection], Any]) -> None:
        """Listen beside the work, until either ends."""
        listening = asyncio.create_task(self._listen(link))
        working = asyncio.create_task(self._work(link, work))
        try:
            await asyncio.wait((listening, working), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (listening, working):
                task.cancel()
            found = await asyncio.gather(listening, working, return_exceptions=True)
        for problem in found:
            if isinstance(problem, Exception):
                raise problem

    async def _work(self, link: ClientConnection, work: Callable[[ClientConnection], Any]) -> None:
        await asyncio.wait_for(self._live.wait(), PATIENCE)
        for frame, sent in list(self._waiting.values()):
            sent.retried = True
            await link.send(json.dumps(frame))
        await work(link)

    # ---- what it does while it is there

    async def _carry_on(self, link: ClientConnection, seconds: float, over: asyncio.Event) -> None:
        """Talk, be silent, acknowledge; then leave politely or vanish."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds + self.stall
        self.vanish.clear()
        line = f"visit {len(self.diary.visits)}"
        while loop.time() < end and not over.is_set() and not self.vanish.is_set():
            for _ in range(self._chance.randrange(4)):
                if len(self._waiting) < MOST_WAITING:
                    await self._speak(link, line)
            if self._chance.random() < 0.1:
                await self._acknowledge(link)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.vanish.wait(), self._chance.uniform(0.02, 0.4))
        if self.vanish.is_set() or self._chance.random() < 0.5:
            self.counts["vanished"] += 1
            return
        await self._leave(link)

    async def _leave(self, link: ClientConnection) -> None:
        """Say goodbye; what was acknowledged over a connection that ended in order must be remembered."""
        calm = self.calm
        await self._acknowledge(link)
        acked = self._acked
        await link.close()
        self.counts["left"] += 1
        self._left_at = asyncio.get_running_loop().time()
        self._owed = acked if calm and self.calm and link.close_code == 1000 else 0

    async def _acknowledge(self, link: ClientConnection) -> None:
        if self._reach is not None:
            await link.send(json.dumps({"type": "ack", "cursor": self._reach}))
            self._acked = position(self._reach)

    async def _until_settled(self, link: ClientConnection) -> None:
        while self._waiting or self.owing:
            again = [pair for pair in self._waiting.values() if pair[1].order < 0]
            for frame, sent in again:
                sent.order = -sent.order
                await link.send(json.dumps(frame))
            await self._more()

    async def _more(self) -> None:
        """Something came; or it is time to look again."""
        self._answers.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._answers.wait(), 0.5)

    # ---- saying

    async def _speak(self, link: ClientConnection, line: str) -> None:
        if self._recent and self._chance.random() < 0.05:
            frame, _ = self._chance.choice(self._recent)
            self._repeats.add(frame["message_id"])
            self.counts["repeated on purpose"] += 1
        else:
            frame, copies = self._draw()
            self._prepare(frame, copies=copies, line=line)
        await link.send(json.dumps(frame))

    def _draw(self) -> tuple[Frame, int]:
        """Any message, and how many events it makes; none if it is a command."""
        chance = self._chance
        text, room = "x" * chance.choice((1, 50, 400, 6000)), self._room()
        match chance.choices(
            ("memory", "talk", "mention", "presence", "alarm", "life"), (40, 25, 12, 6, 1, 6)
        )[0]:
            case "memory":
                urgency = chance.choice(("critical", "normal", "normal", "background", "background"))
                place = chance.choice(("main", "main", room))
                exchange = {"content": text}
                return self._message(
                    "memory_update", context_id=place, exchange=exchange, priority=urgency
                ), 1
            case "talk" if room != "main":
                urgency = chance.choice(PRIORITIES)
                return self._message("sidebar_message", sidebar_id=room, content=text, priority=urgency), 1
            case "mention":
                others = chance.sample([one for one in self._cast if one != self.name], chance.randint(1, 3))
                urgency = chance.choice(("urgent", "normal"))
                called = self._message("mention_route", target_agents=others, message=text, priority=urgency)
                return called, len(others)
            case "presence":
                where = f"place-{uuid4().hex[:8]}"
                return self._message("agent_presence", status="working", current_context=where), 1
            case "alarm":
                return self._message("security_emergency", threat_type="drill", message=text), 1
        return self._command(room), 0

    def _room(self) -> str:
        """Mostly a sidebar it is in, sometimes any."""
        if self._mine and self._chance.random() < 0.85:
            return self._chance.choice(sorted(self._mine))
        return self._rooms.any(self._chance)

    def _command(self, room: str) -> Frame:
        chance = self._chance
        others = chance.sample(self._cast, chance.randint(1, 4))
        if room == "main" or chance.random() < 0.3:
            fresh = f"room-{uuid4().hex[:8]}"
            self._rooms.names.append(fresh)
            asked = {"sidebar_id": fresh, "task_description": "look", "participants": others}
            return self._message("sidebar_spawn", parent_id="main", **asked)
        match chance.choice(("invite", "invite", "join", "leave", "leave", "move", "end", "pause", "resume")):
            case "invite":
                return self._message("sidebar_invite", sidebar_id=room, agents=others)
            case "move":
                return self._message(
                    "sidebar_status_update", sidebar_id=room, new_status=chance.choice(MOODS)
                )
            case "end":
                return self._message("sidebar_archive", sidebar_id=room, archive_reason="enough")
            case "pause" | "resume" as what:
                return self._message(f"sidebar_{what}", sidebar_id=room, reason="so")
            case what:
                return self._message(f"sidebar_{what}", sidebar_id=room)

    def _message(self, kind: str, **fields: Any) -> Frame:
        return {"type": kind, "message_id": str(uuid4()), "timestamp": NOON, **fields}

    def _prepare(self, frame: Frame, *, copies: int, line: str = "alone") -> None:
        self._order += 1
        lane = "presence" if frame["type"] == "agent_presence" else frame.get("priority", frame["type"])
        sent = Sent(frame["message_id"], self._order, f"{line} {lane}", copies)
        self.diary.sent[sent.message_id] = sent
        self._waiting[sent.message_id] = (frame, sent)
        self.counts["messages sent"] += 1

    # ---- hearing

    async def _listen(self, link: ClientConnection) -> None:
        while True:
            if self.stall:
                seconds, self.stall = self.stall, 0.0
                self.counts["stalled"] += 1
                await asyncio.sleep(seconds)
            await self._take(link, json.loads(await link.recv()))

    async def _take(self, link: ClientConnection, frame: Frame) -> None:
        match frame["type"]:
            case "accepted" | "duplicate_ack" | "error":
                self._answered(frame)
            case "catch_up" if "infodump" in frame:
                self._fetched(frame)
            case "catch_up":
                for event in frame["events"]:
                    self._hear(event)
                if frame["events"]:
                    self._reach = frame["events"][-1]["cursor"]
            case "batch" | "coalesced_update":
                for event in frame.get("events", frame.get("updates", [])):
                    self._hear(event)
            case "gap":
                await self._miss(link, frame)
            case "live":
                self._live.set()
            case "position":
                self._reach = frame["cursor"]
            case "goodbye":
                raise Ended(frame.get("code"))
            case _ if "cursor" in frame and "message_id" in frame:
                self._hear(frame)
        self._answers.set()

    def _hear(self, event: Frame) -> None:
        assert self._visit is not None
        self._visit.hear(position(event["cursor"]), fingerprint(event))
        self.counts["deliveries"] += 1
        if event.get("priority") == "background" and event["type"] in ("memory_update", "sidebar_message"):
            self._reach = event["cursor"]  # what is least urgent overtakes nothing
        self._note(event)
        if event["type"] == "memory_update" and event.get("last"):
            self.heard.add(event["message_id"])

    def _note(self, event: Frame) -> None:
        """What an event says of our own commands and sidebars."""
        if event["type"] == "result":
            self.owing.discard(event["in_reply_to"])
            self._results.add(event["in_reply_to"])
        if "members" in event and "sidebar_id" in event:
            mine = event.get("status") not in CLOSED and self.name in event["members"]
            (self._mine.add if mine else self._mine.discard)(event["sidebar_id"])

    async def _miss(self, link: ClientConnection, frame: Frame) -> None:
        """A gap: note it, and fetch what it names."""
        assert self._visit is not None
        spans = {lane: (position(first), position(last)) for lane, (first, last) in frame["spans"].items()}
        missed = Missed(spans, frame["by_lane"])
        self._visit.missed.append(missed)
        self.counts["gaps"] += 1
        asked = self._message(
            "infodump", spans=frame["spans"], since=frame["from"], until=frame["to"], limit=10_000
        )
        self._fetching[asked["message_id"]] = missed
        await link.send(json.dumps(asked))

    def _fetched(self, frame: Frame) -> None:
        missed = self._fetching.get(frame["infodump"])
        if missed is not None:
            for event in frame["events"]:
                missed.fetched.append(position(event["cursor"]))
                self._note(event)
            if "next" in frame:
                missed.whole = frame["next"] is None
                self.counts["gaps fetched whole"] += missed.whole

    # ---- answers

    def _answered(self, frame: Frame) -> None:
        message_id = frame.get("in_reply_to") or frame.get("original_message_id")
        known = self.diary.sent.get(message_id or "")
        if message_id in self._fetching or known is None:
            self.counts["other errors"] += frame["type"] == "error"
            return
        waiting = self._waiting.get(known.message_id)
        if waiting is None or known.message_id in self._repeats:
            self._repeated(known, frame)
        if waiting is not None:
            self._settled(waiting, known, frame)

    def _repeated(self, known: Sent, frame: Frame) -> None:
        self._repeats.discard(known.message_id)
        if frame["type"] == "accepted":
            known.repeated_wrongly = True
        self.counts["duplicates answered"] += frame["type"] == "duplicate_ack"

    def _settled(self, waiting: tuple[Frame, Sent], sent: Sent, frame: Frame) -> None:
        if frame["type"] == "error" and frame["code"] in ASKED_AGAIN:
            self.counts["asked again"] += 1
            sent.retried, sent.order = True, -abs(sent.order)
            return
        del self._waiting[sent.message_id]
        sent.order = abs(sent.order)
        match frame["type"]:
            case "error":
                sent.answer = "refused"
                if frame["code"] not in EXPECTED:
                    sent.surprise = f"{frame['code']}: {frame['message']}"
                self.counts[f"refused: {frame['code']}"] += 1
                return
            case "accepted":
                sent.answer, sent.position = "accepted", position(frame["cursor"])
                sent.accepted += 1
                self.counts["accepted"] += 1
                self._recent.append(waiting)
            case _:
                sent.answer = "duplicate"
        if not sent.copies and sent.message_id not in self._results:
            self.owing.add(sent.message_id)


def owed(actors: list[Actor]) -> Iterator[str]:
    """What is still missing, for the report of a campaign that does not settle."""
    for actor in actors:
        if actor.owing or actor._waiting:
            kinds = Counter(frame["type"] for frame, _ in actor._waiting.values())
            yield f"{actor.name}: unanswered {dict(kinds)}, results missing {len(actor.owing)}"
            yield f"    {dict(actor.counts)}"
