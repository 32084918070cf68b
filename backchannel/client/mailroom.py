"""The mailroom: which mailbox an event goes to, when to stop reading, and what has to come again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from backchannel.client.arrivals import Arrivals
from backchannel.client.mailbox import Bounds, Letter, Mailbox
from backchannel.client.notice import Gap
from backchannel.client.requests import Requests
from backchannel.errors import BackchannelError, QueueFull
from backchannel.protocol.lane import Lane, lane_of

PATIENCE = 5.0
"""Seconds for which reading stops at most: longer, and the bridge would take us for dead."""
CLAIMS = 256
MOST_NAMED = 500
"""Single messages that one acknowledgement names."""
ENDED = frozenset({"merged", "archived", "failed"})
_log = logging.getLogger("backchannel.client")
Event = dict[str, Any]


class Mailroom:
    """Sorts events into the inbox and the mailboxes of claimed sidebars and tool requests; each is bounded.

    A full mailbox stops the reading, unless somebody waits for an answer that lies behind it on the line,
    or patience ends: then events are left out, the log still has them, and they come again when the user
    has caught up (`on_starved`).
    """

    def __init__(self, me: str, bounds: Bounds, requests: Requests, on_starved: Callable[[], None]) -> None:
        self.arrivals = Arrivals()
        self.inbox = Mailbox(bounds, self._changed)
        self.finished = asyncio.Event()
        self.named: dict[str, None] = {}
        self._me = me
        self._bounds = bounds
        self._requests = requests
        self._on_starved = on_starved
        self._claims: dict[str, tuple[Mailbox, int]] = {}
        self._moved = asyncio.Event()
        self._leaving = False

    def arrive(self, event: Event, size: int) -> None:
        """One event from the line; never waits, never runs the user's code."""
        cursor = event.get("cursor")
        if not isinstance(cursor, str):
            _log.warning("An event of type %r came without a cursor and was ignored.", event.get("type"))
            return
        rank = lane_of(str(event.get("type")), event.get("priority")).rank
        if self.arrivals.is_known(cursor):
            self.arrivals.came(cursor, rank)
            return
        sidebar_id, box = self._box_of(event)
        if self._needs_no_reader(event, box):
            self._pass(cursor, rank)
        elif box.left_out or box.overfull:
            box.left_out = True
            self.arrivals.leave_out(cursor)
            return
        elif arrival := self.arrivals.came(cursor, rank):
            box.put(Letter(event, arrival, size))
        if sidebar_id is not None and self._ends(event, sidebar_id):
            box.close(None)

    def taken(self, letter: Letter) -> None:
        """The user has a letter in hand; what is critical is acknowledged by name, before it is done."""
        if isinstance(letter.content, dict) and _is_critical(letter.content):
            self.named[str(letter.content.get("message_id"))] = None
            while len(self.named) > MOST_NAMED:
                del self.named[next(iter(self.named))]
            self.finished.set()

    def done(self, letter: Letter) -> None:
        """The user is through with a letter."""
        if letter.arrival is not None:
            self.arrivals.finish(letter.arrival)
            self.finished.set()

    async def room(self) -> None:
        """Wait until reading on is right, `PATIENCE` seconds at most."""
        if not self._pressed():
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while self._pressed():
                    self._moved.clear()
                    await self._moved.wait()
        for box in self._boxes():
            box.impatient = box.full

    def nudge(self) -> None:
        """Something happened that may let the reading go on."""
        self._moved.set()

    def resumed(self) -> None:
        """A new connection goes on behind `arrivals.position`: what was left out comes now."""
        self.arrivals.resume()
        for box in self._boxes():
            box.left_out = box.left_out and box.full

    def lost(self, gap: Gap) -> None:
        """The log could not be read on: positions known so far are void, and the user is told."""
        self.arrivals.restart()
        self.inbox.gap(gap)

    def skipped(self, start: str) -> None:
        """The bridge left out events from `start` on; the log has them, they come like our own omissions."""
        self.arrivals.leave_out(start)
        for box in self._boxes():
            box.left_out = True
            self._changed(box)

    def claim(self, sidebar_id: str) -> Mailbox:
        """Events of this sidebar, or what is told of this tool request, no longer go to the inbox; those that
        wait there move over.

        Raises:
            QueueFull: too many sidebars are claimed at once.
        """
        box, count = self._claims.get(sidebar_id, (None, 0))
        if box is None:
            if len(self._claims) >= CLAIMS:
                raise QueueFull(f"{CLAIMS} sidebars and tool requests are being waited for; leave one first.")
            box = Mailbox(self._bounds, self._changed)
            box.left_out = self.inbox.left_out
            self._claims[sidebar_id] = (box, 1)
            self._move(sidebar_id, box)
        else:
            self._claims[sidebar_id] = (box, count + 1)
        return box

    def release(self, sidebar_id: str, *, settled: bool = False) -> None:
        """The counterpart of `claim`. What nobody took goes to the inbox, or is done if all is `settled`."""
        box, count = self._claims[sidebar_id]
        if count > 1:
            self._claims[sidebar_id] = (box, count - 1)
            return
        del self._claims[sidebar_id]
        for letter in reversed(box.drain()):
            if settled:
                self.done(letter)
            else:
                self.inbox.put_back(letter)
        self.inbox.left_out = self.inbox.left_out or box.left_out

    def leave(self) -> None:
        """Reading goes on to the end of the connection, whatever is full."""
        self._leaving = True
        self.nudge()

    def close(self, error: BackchannelError | None) -> None:
        for box in self._boxes():
            box.close(error, at_once=True)
        self.nudge()

    def _boxes(self) -> list[Mailbox]:
        return [self.inbox, *(box for box, _ in self._claims.values())]

    def _box_of(self, event: Event) -> tuple[str | None, Mailbox]:
        for sidebar_id in _contexts(event):
            if sidebar_id in self._claims:
                return sidebar_id, self._claims[sidebar_id][0]
        return None, self.inbox

    def _move(self, sidebar_id: str, box: Mailbox) -> None:
        def belongs(letter: Letter) -> bool:
            return isinstance(letter.content, dict) and sidebar_id in _contexts(letter.content)

        for letter in self.inbox.drain(belongs):
            box.put(letter)
            if isinstance(letter.content, dict) and self._ends(letter.content, sidebar_id):
                box.close(None)

    def _needs_no_reader(self, event: Event, box: Mailbox) -> bool:
        if event.get("type") == "result":
            return self._requests.decided(event)
        return event.get("sender_agent_id") == self._me and not box.wants_own

    def _pass(self, cursor: str, rank: int) -> None:
        arrival = self.arrivals.came(cursor, rank)
        if arrival is not None:
            self.arrivals.finish(arrival)
            self.finished.set()

    def _ends(self, event: Event, sidebar_id: str) -> bool:
        if event.get("sidebar_id") != sidebar_id:
            return False
        if event.get("type") == "sidebar_leave":
            return event.get("sender_agent_id") == self._me
        return event.get("status") in ENDED

    def _pressed(self) -> bool:
        boxes = self._boxes()
        if self._leaving or self._requests.waiting or any(box.hungry for box in boxes):
            return False
        return any(box.full and not box.left_out and not box.impatient for box in boxes)

    def _changed(self, box: Mailbox) -> None:
        self._moved.set()
        if box.left_out and box.hungry:
            self._on_starved()


def _contexts(event: Event) -> tuple[str, ...]:
    """What an event may be claimed by, the likeliest first: its contexts, or the tool request it is about."""
    match event:
        case {"type": "sidebar_merge", "sidebar_id": str() as child, "parent_id": str() as parent}:
            return parent, child
        case {"type": "sidebar_closed", "awaited_by": str() as waiting}:
            return (waiting,)
        case {"type": "sidebar_closed", "sidebar_id": str() as child, "parent_id": str() as parent}:
            return child, parent
        case {"type": "sidebar_child_spawn", "parent_sidebar_id": str() as parent}:
            return (parent,)
        case {"type": "memory_update", "context_id": str() as context}:
            return (context,)
        case {"type": "tool_decision" | "tool_result", "request_id": str() as request}:
            return (request,)
        case {"type": str() as kind, "sidebar_id": str() as sidebar} if kind.startswith("sidebar_"):
            return (sidebar,)
    return ()


def _is_critical(event: Event) -> bool:
    kind = str(event.get("type")).removesuffix("_broadcast")
    return lane_of(kind, event.get("priority")).rank <= Lane.CRITICAL.rank
