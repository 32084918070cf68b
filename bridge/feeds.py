"""Feeds: one for the log of each group, opened until it succeeds, and anew when a log is made anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

from backchannel.domain.settings import Settings
from backchannel.errors import Conflict, Unavailable
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.publish import EXPECTED, MSG_ID, Entry, Publisher
from backchannel.protocol.claims import Claims
from backchannel.protocol.subject import order_subject
from bridge.chores import Chores, until_done
from bridge.feed import Feed
from bridge.metrics import Metrics

log = structlog.get_logger("bridge.feeds")


class Feeds:
    """Those that are open, `by_group`.

    Args:
        on_replaced: told of a feed whose log is another one now, before a new one is opened in its place.
    """

    def __init__(
        self,
        groups: tuple[str, ...],
        reading: Connection,
        publisher: Publisher,
        metrics: Metrics,
        settings: Callable[[], Settings],
        chores: Chores,
        on_replaced: Callable[[Feed], None],
    ) -> None:
        self.by_group: dict[str, Feed] = {}
        self._groups = groups
        self._reading = reading
        self._publisher = publisher
        self._metrics = metrics
        self._settings = settings
        self._chores = chores
        self._on_replaced = on_replaced

    async def open(self) -> None:
        """However long it takes until the logs can be reached."""
        for group in self._groups:
            await self._open(group)

    async def close(self) -> None:
        for feed in self.by_group.values():
            await feed.close()

    @property
    def complete(self) -> bool:
        return len(self.by_group) == len(self._groups)

    def of(self, claims: Claims) -> Feed:
        """Raises Unavailable while there is none."""
        feed = self.by_group.get(claims.collaboration_group)
        if feed is None:
            raise Unavailable("The log of this group is being opened; try again.", retry_after=1.0)
        return feed

    async def survey(self) -> None:
        """Ask each log how far it reaches. Raises Unavailable."""
        for feed in tuple(self.by_group.values()):
            await feed.survey()

    async def catch_up(self) -> None:
        """Read everything that lies in each log by now. Raises Unavailable."""
        await asyncio.gather(*(feed.catch_up() for feed in self.by_group.values()))

    def measure(self) -> None:
        """Tell the metrics how far each tail is behind."""
        for group, feed in self.by_group.items():
            self._metrics.tail_lag.labels(group).set(feed.lag)

    def facts(self) -> dict[str, dict[str, Any]]:
        """For `/health`: each log, and the ring of all of them."""
        feeds = self.by_group.values()
        return {
            "log": {group: self._log_facts(group) for group in self._groups},
            "ring": {
                "events": sum(len(feed.ring) for feed in feeds),
                "bytes": sum(feed.ring.length for feed in feeds),
            },
        }

    def _log_facts(self, group: str) -> dict[str, Any]:
        feed = self.by_group.get(group)
        if feed is None:
            return {"live": False, "lag": 0}
        return {"live": feed.live, "lag": feed.lag, "cursor": feed.cursor}

    async def _open(self, group: str) -> None:
        await until_done(f"the beginning of {group}", lambda: self._begin_log(group))
        feed = Feed(self._reading, group, self._metrics, self._replaced, self._settings)
        await until_done(f"the log of {group}", feed.open)
        self.by_group[group] = feed

    async def _begin_log(self, group: str) -> None:
        """Lay down what is never taken out again. Timers and marks at its head go one by one, and a log that
        seems to begin later than a cursor has lost nothing by that."""
        headers = {MSG_ID: f"beginning:{group}", EXPECTED: "0"}
        with suppress(Conflict):
            await self._publisher.store(Entry(order_subject(group, "beginning"), b"", headers))

    def _replaced(self, feed: Feed) -> None:
        if self.by_group.get(feed.group) is not feed:
            return
        del self.by_group[feed.group]
        log.error("the log was made anew", group=feed.group)
        self._on_replaced(feed)
        self._chores.errand(self._renew(feed))

    async def _renew(self, feed: Feed) -> None:
        await feed.close()
        await self._open(feed.group)
