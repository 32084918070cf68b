"""Watches a bucket of leases, and starts timers by what changes there."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid5

from backchannel.domain.decision import Decision, Timer
from backchannel.domain.settings import Settings
from backchannel.errors import BackchannelError
from backchannel.jetstream.bucket import value_in
from backchannel.jetstream.read import Record
from backchannel.jetstream.tail import Tail
from backchannel.logger import Logger
from backchannel.protocol.identifier import PLATFORM
from backchannel.service.follow import FAMILY, Origin, follow_ups
from backchannel.service.house import House

log = Logger(__name__)
RETRY = 0.5
MOST_SEEN = 100_000


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one key: `lapsed` when it went, `new` when it was not seen here before."""

    key: str
    lapsed: bool
    new: bool
    at: datetime
    revision: int


Watcher = Callable[[Change, Settings], Timer | None]
"""Which timer a change starts. Every process watches by itself: a timer may be started more than once."""


class Watching:
    """One watcher over one group's part of a bucket.

    It sees what is there at its start, then every change. Of several timers with the same key that wait to be
    stored the last one stays, so that no more wait than there are keys.
    """

    def __init__(self, name: str, watcher: Watcher, bucket: str, house: House, group: str) -> None:
        self._name = name
        self._watcher = watcher
        self._stream = f"KV_{bucket}"
        self._prefix = f"$KV.{bucket}."
        self._house = house
        self._group = group
        self._boot = secrets.token_hex(8)
        self._seen: set[str] = set()
        self._waiting: dict[str, tuple[Timer, int]] = {}
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled."""
        self._seen.clear()
        tail = Tail(
            self._house.connection,
            self._stream,
            after=0,
            on_record=self._changed,
            filters=(f"{self._prefix}{self._group}.>",),
        )
        await tail.start()
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                await self._store_all()
        finally:
            await tail.stop()

    def _changed(self, record: Record) -> None:
        key = record.subject.removeprefix(self._prefix)
        lapsed = value_in(record) is None
        new = not lapsed and key not in self._seen
        if lapsed:
            self._seen.discard(key)
        else:
            if len(self._seen) >= MOST_SEEN:
                self._seen.clear()  # markers may have gone unseen; what is new again does no harm
            self._seen.add(key)
        if not lapsed and not new:
            return
        change = Change(key, lapsed, new, datetime.fromisoformat(record.time), record.sequence)
        timer = self._watcher(change, self._house.settings())
        if timer is not None:
            self._waiting[f"{timer.name}.{timer.key}"] = (timer, record.sequence)
            self._news.set()

    async def _store_all(self) -> None:
        while self._waiting:
            name = next(iter(self._waiting))
            found = self._waiting.pop(name)
            try:
                await self._store(*found)
            except BackchannelError as problem:
                log.warning("timer_waits", service=self._name, problem=problem.message)
                self._waiting.setdefault(name, found)
                await asyncio.sleep(RETRY)

    async def _store(self, timer: Timer, revision: int) -> None:
        message_id = uuid5(FAMILY, f"{self._boot}:{self._stream}:{self._group}:{revision}")
        for entry in follow_ups(Decision(timers=(timer,)), Origin(self._group, PLATFORM, message_id)):
            await self._house.publisher.store(entry)
