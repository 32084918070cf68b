"""The quarantine at the door: parks what goes round in circles, and tells the humans of those agents once."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime

from backchannel.delivery.loops import Finding
from backchannel.errors import BackchannelError, Quarantined
from backchannel.jetstream.entry import Entry
from backchannel.jetstream.publish import Publisher
from backchannel.logger import Logger
from backchannel.protocol.catalog import AnyMessage
from backchannel.service.admit import Sender
from backchannel.service.quarantine import LARGEST, notice, parked

log = Logger("quarantine")
MOST_KEPT = 1_000
"""Messages of one agent that a process parks within one window; the others are refused all the same."""

MOST_EPISODES = 1_000
HumansOf = Callable[[str, str], Awaitable[Collection[str]]]
"""Who looks after an agent of a group, by the directory."""


class Quarantine:
    """Parked messages lie in BC_DEAD. An episode is a set of agents that go round, for one window."""

    def __init__(self, publisher: Publisher, humans_of: HumansOf) -> None:
        self._publisher = publisher
        self._humans_of = humans_of
        self._told: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._kept: Counter[tuple[str, str]] = Counter()
        self._counted_since = 0.0

    async def park(
        self, sender: Sender, message: AnyMessage, entries: Sequence[Entry], found: Finding, window: float
    ) -> None:
        """
        Raises:
            Quarantined: always, when it is parked.
            Unavailable: it could not be parked.
        """
        now = time.time()
        entry = parked(sender, message, entries, found, datetime.now(UTC))
        kept = self._has_room(sender, now, window) and entry.size <= LARGEST
        if kept:
            await self._publisher.store(entry)
        await self._tell(sender, message, found, now, window)
        where = "It is kept until a person releases or drops it" if kept else "It was not even kept"
        raise Quarantined(f"{found.reason} {where}; stop, and ask your human what to do.")

    def _has_room(self, sender: Sender, now: float, window: float) -> bool:
        if now - self._counted_since >= window:
            self._kept.clear()
            self._counted_since = now
        self._kept[sender.group, sender.agent] += 1
        return self._kept[sender.group, sender.agent] <= MOST_KEPT

    async def _tell(
        self, sender: Sender, message: AnyMessage, found: Finding, now: float, window: float
    ) -> None:
        """Tell each human once in an episode; other processes find the same id and say nothing."""
        agents = tuple(sorted({sender.agent, *found.between}))
        episode = (sender.group, *agents)
        if now - self._told.get(episode, -window) < window:
            return
        self._told[episode] = now
        if len(self._told) > MOST_EPISODES:
            self._told.popitem(last=False)
        log.warning("agents go round in circles", group=sender.group, agents=agents, reason=found.reason)
        try:
            for human in sorted(await self._humans(sender, found.between)):
                key = f"{'.'.join(agents)}:{int(now // window)}"
                await self._publisher.store(notice(sender.group, human, message, agents, found, key))
        except BackchannelError as problem:
            del self._told[episode]  # the next message of the loop tries again
            log.warning("humans were not told of a loop", problem=problem.message)

    async def _humans(self, sender: Sender, others: Sequence[str]) -> set[str]:
        """Who looks after the sender, by its token, and after all of them, by the directory."""
        claims = sender.claims
        found = {claims.human_partner, claims.human_supervisor}
        for agent in {sender.agent, *others}:
            found |= set(await self._humans_of(sender.group, agent))
        return {human for human in found if human}
