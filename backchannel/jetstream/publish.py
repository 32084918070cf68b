"""Publishing to streams: pipelined, with the same id until it is stored; several messages all or none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

import pydantic_core

from backchannel.errors import BackchannelError, Internal, QueueFull, Unavailable
from backchannel.jetstream.answer import AGAIN, IN_FLIGHT, STALE, failed, number_of
from backchannel.jetstream.batch import Batches
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.entry import EXPECTED, MSG_ID, Entry, Fence, Stored, covers, fenced
from backchannel.jetstream.head import status_of, write_head
from backchannel.jetstream.read import find_id
from backchannel.logger import Logger

__all__ = ["EXPECTED", "MSG_ID", "Entry", "Fence", "Publisher", "Stored", "covers"]

log = Logger(__name__)

SWEEP = 0.1
BUSY = 0.1
"""Seconds until a publish is repeated that JetStream could not take just now."""
LONGEST_PATIENCE = 4.0
MOST_BYTES = 64 << 20
UNCONFIRMED = "The log did not confirm the message in time; send it again."

Done = Callable[[Stored | BackchannelError], None]


class _Pending:
    """One publish under way."""

    __slots__ = ("before", "done", "due", "end", "entry", "looked_into", "patience", "reached", "tries")

    def __init__(
        self, entry: Entry, done: Done, end: float, patience: float, reached: Mapping[str, int]
    ) -> None:
        self.reached = reached
        self.before: tuple[str, int] | None = None
        self.looked_into = True
        self.entry = entry
        self.done = done
        self.end = end
        self.patience = patience
        self.due = end
        self.tries = 0


class Publisher:
    """Publishes over one connection, many at a time, without a task or future for each.

    What is not confirmed is published again with the same id, after a pause and after every reconnect,
    until `deadline` seconds have passed: a leader killed without warning is replaced in five to eight.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        in_flight: int = 1024,
        deadline: float = 15.0,
        patience: float = 2.0,
    ) -> None:
        self._connection = connection
        self._limit = in_flight
        self._deadline = deadline
        self._patience = patience
        self._pending: dict[int, _Pending] = {}
        self._bytes = 0
        self._reached: Mapping[str, int] = {}
        self._numbers = count(1)
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._batches = Batches(connection, deadline)
        self._asking: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._inbox = connection.inbox(self._answered)
        self._cut = len(self._inbox) + 1
        connection.on_change(self._changed)

    @property
    def free(self) -> int:
        """How many more may be posted now."""
        return self._limit - len(self._pending) if self._bytes < MOST_BYTES else 0

    def post(
        self,
        entry: Entry,
        done: Done,
        *,
        before: tuple[str, int] | None = None,
        looked_into: bool = True,
    ) -> None:
        """Publish, and call `done` once with where it lies or why it does not.

        Args:
            before: a stream and a position that it had reached by now. What turns out to lie there or
                earlier had been stored before, even if an answer was lost and it was published twice here.
            looked_into: whether a Conflict is told only after a search for an earlier copy of it. Whoever
                offers it again after a Conflict needs none: the log knows the id.

        Raises:
            QueueFull: as many are under way as may be; wait until `free` is not 0.
            BadMessage, TooLarge: it cannot be published at all.
        """
        if self.free <= 0:
            raise QueueFull(
                "Too many messages are on their way to the log; try again in a moment.", retry_after=0.1
            )
        number = next(self._numbers)
        pending = _Pending(entry, done, self._loop.time() + self._deadline, self._patience, self._reached)
        pending.before, pending.looked_into = before, looked_into
        if self._connection.up:
            self._publish(number, pending)
        self._pending[number] = pending
        self._bytes += len(entry.payload)
        if self._timer is None:
            self._timer = self._loop.call_later(SWEEP, self._sweep)

    async def store(self, entry: Entry) -> Stored:
        """Publish one message and wait until it is stored; if need be, wait for room first.

        Raises:
            Unavailable: it is not known to be stored within the deadline.
            Conflict: an expectation in its headers does not hold.
        """
        await self._wait_for_room()
        answer: asyncio.Future[Stored | BackchannelError] = self._loop.create_future()

        def done(outcome: Stored | BackchannelError) -> None:
            if not answer.done():
                answer.set_result(outcome)

        self.post(entry, done)
        outcome = await answer
        if isinstance(outcome, BackchannelError):
            raise outcome
        return outcome

    async def commit(self, entries: Sequence[Entry], fences: Sequence[Fence] = ()) -> Stored:
        """Store all entries or none, in one stream, if every fence still holds.

        The answer tells the last entry's sequence; `duplicate` if all of it had been applied before.

        Raises:
            Conflict: somebody else wrote behind a fence.
            TooLarge: more than a thousand entries.
            Unavailable: it is not known to be stored within the deadline; repeat it with the same ids.
        """
        if not entries:
            raise Internal("There is nothing to commit.")
        carrying = fenced(entries, fences)
        if len(carrying) == 1:
            return await self.store(carrying[0])
        return await self._batches.commit(carrying, self._reached)

    async def commit_once(self, entries: Sequence[Entry], fences: Sequence[Fence] = ()) -> bool:
        """One try of `commit`, for entries that may also be stored apart from each other.

        False when it was refused, and also when its answer was lost: what is stored each has to find out.
        """
        try:
            return await self._batches.once(fenced(entries, fences))
        except Internal:
            return False

    async def close(self) -> None:
        """Stop; what is not confirmed yet is told so."""
        self._connection.forget_change(self._changed)
        self._connection.close_inbox(self._inbox)
        if self._timer is not None:
            self._timer.cancel()
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        for number in list(self._pending):
            self._finish(number, Unavailable("The platform stopped before the log confirmed the message."))

    def _publish(self, number: int, pending: _Pending) -> None:
        entry = pending.entry
        pending.due = self._loop.time() + pending.patience
        try:
            self._connection.emit(
                entry.subject, entry.payload, write_head(entry.headers), f"{self._inbox}.{number}"
            )
            pending.tries += 1
        except Unavailable:
            pending.due = self._loop.time() + BUSY

    def _publish_again(self, number: int, pending: _Pending) -> None:
        """What was posted while there was no connection may turn out not to be publishable at all."""
        try:
            self._publish(number, pending)
        except BackchannelError as error:
            self._finish(number, error)

    def _answered(self, subject: bytes, reply: bytes, head: bytes, payload: bytes) -> None:
        number = int(subject[self._cut :])
        pending = self._pending.get(number)
        if pending is None:
            return
        if status_of(head):
            pending.due = self._loop.time() + BUSY
            return
        answer: dict[str, Any] = pydantic_core.from_json(payload)
        if (error := answer.get("error")) is not None:
            self._refused(number, pending, error)
            return
        stored = _stored(pending, answer["seq"], answer["stream"], answer.get("duplicate", False))
        if stored.sequence > self._reached.get(stored.stream, 0):
            self._reached = {**self._reached, stored.stream: stored.sequence}
        self._finish(number, stored)

    def _refused(self, number: int, pending: _Pending, error: dict[str, Any]) -> None:
        if number_of(error) in (*AGAIN, IN_FLIGHT) or error.get("code") == 503:
            pending.due = self._loop.time() + BUSY
        elif number_of(error) == STALE and _may_be_stored(pending):
            pending.due = pending.end
            task = self._loop.create_task(self._look(number, pending, failed(error)))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        else:
            self._finish(number, failed(error))

    async def _look(self, number: int, pending: _Pending, stale: BackchannelError) -> None:
        """After a lost answer a single server says "stale" where a cluster says "duplicate": so look."""
        entry = pending.entry
        outcome: Stored | BackchannelError = stale
        try:
            place = await find_id(self._connection, entry.subject, entry.message_id or "")
            if place is not None:
                outcome = _stored(pending, place[1], place[0], True)
        except BackchannelError as error:
            outcome = error
        if number in self._pending:
            self._finish(number, outcome)

    def _finish(self, number: int, outcome: Stored | BackchannelError) -> None:
        pending = self._pending.pop(number)
        self._bytes -= len(pending.entry.payload)
        self._room.set()
        try:
            pending.done(outcome)
        except Exception:
            log.exception("publish_observer_failed", subject=pending.entry.subject)

    def _changed(self, up: bool) -> None:
        """After a reconnect all that is unconfirmed goes out again, in order."""
        if not up:
            return
        for number, pending in list(self._pending.items()):
            if pending.due < pending.end or not pending.tries:
                self._publish_again(number, pending)

    def _sweep(self) -> None:
        """Give up what is past its deadline, publish again what is due."""
        now = self._loop.time()
        for number, pending in list(self._pending.items()):
            if pending.end <= now and number in self._pending:
                self._finish(
                    number,
                    Unavailable(UNCONFIRMED, retry_after=1.0),
                )
            elif pending.due <= now and self._connection.up:
                pending.patience = min(pending.patience * 2, LONGEST_PATIENCE)
                self._publish_again(number, pending)
        self._timer = self._loop.call_later(SWEEP, self._sweep) if self._pending else None

    async def _wait_for_room(self) -> None:
        end = self._loop.time() + self._deadline
        while self.free <= 0:
            self._room.clear()
            try:
                async with asyncio.timeout_at(end):
                    await self._room.wait()
            except TimeoutError:
                raise Unavailable("The log takes nothing now; try again.", retry_after=1.0) from None


def _may_be_stored(pending: _Pending) -> bool:
    """Whether an earlier copy may lie in the log although this one was refused as stale."""
    return pending.entry.message_id is not None and (pending.looked_into or pending.tries > 1)


def _stored(pending: _Pending, sequence: int, stream: str, repeated: bool) -> Stored:
    """What was there is an earlier message, or our own first try, the answer to which was lost."""
    earlier = pending.tries == 1 or sequence <= pending.reached.get(stream, 0)
    if not earlier and pending.before is not None:
        earlier = stream == pending.before[0] and sequence <= pending.before[1]
    return Stored(sequence, repeated and earlier, stream)
