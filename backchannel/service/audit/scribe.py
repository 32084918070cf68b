"""A scribe: enters in the trail what a stream says has happened, once each, however often it starts anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from backchannel.domain.audit import Deed
from backchannel.errors import BackchannelError
from backchannel.jetstream.page import page
from backchannel.jetstream.read import Record, describe, last
from backchannel.jetstream.walk import Walk
from backchannel.logger import Logger
from backchannel.protocol.subject import AUDIT
from backchannel.service.audit.locate import link_of
from backchannel.service.house import House

log = Logger(__name__)
AGAIN = 2.0
REACH = 500


@dataclass(frozen=True, slots=True)
class Source:
    """What a scribe reads, and where its records lie.

    Args:
        stream: and `filter`: what happened.
        entered: the subject filter that finds what the scribe has entered, among little else.
        deed: what a message of the stream is in the trail; None for nothing.
    """

    stream: str
    filter: str
    entered: str
    deed: Callable[[str, Record], Deed | None]


class Scribe:
    """Reads one source for one group. Its last record in the trail says how far it has come."""

    def __init__(self, house: House, group: str, source: Source) -> None:
        self._house = house
        self._group = group
        self._source = source

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._enter()
            except BackchannelError as problem:
                log.info("audit_scribe_waits", stream=self._source.stream, problem=problem.message)
            except Exception:
                log.exception("audit_scribe_failed", stream=self._source.stream)
            await asyncio.sleep(AGAIN)

    async def _enter(self) -> None:
        source, connection = self._source, self._house.connection
        epoch = (await describe(connection, source.stream)).epoch
        walk = Walk(connection, source.stream, source.filter, await self._reached(epoch))
        try:
            while True:
                deeds = [
                    self._placed(deed, record, epoch)
                    for record in await walk.next()
                    if (deed := source.deed(self._group, record)) is not None
                ]
                await asyncio.gather(*map(self._house.trail.write, deeds))
        finally:
            walk.close()

    def _placed(self, deed: Deed, record: Record, epoch: str) -> Deed:
        place = f"{self._source.stream}:{epoch}:{record.sequence}"
        return replace(deed, id=place, facts={**deed.facts, "place": place, "stored": record.time})

    async def _reached(self, epoch: str) -> int:
        """The newest message of the stream that is in the trail; 0 if none is."""
        connection, source = self._house.connection, self._source
        newest = await last(connection, AUDIT, source.entered)
        reach = REACH
        while newest is not None:
            start = max(newest.sequence - reach, 0)
            found = 0
            after, done = start, False
            while not done:
                part = await page(connection, AUDIT, after, filter=source.entered, until=newest.sequence)
                found = max([found, *(self._place_in(record, epoch) for record in part.records)])
                after, done = part.last_sequence_scanned, part.done
            if found or not start:
                return found
            reach *= 8
        return 0

    def _place_in(self, record: Record, epoch: str) -> int:
        link = link_of(record)
        stream, _, rest = (link.id if link else "").partition(":")
        told, _, sequence = rest.partition(":")
        known = stream == self._source.stream and told == epoch and sequence.isdecimal()
        return int(sequence) if known else 0
