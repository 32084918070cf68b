"""What was announced and never ended: named at a start, and ended on record when the log has its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from backchannel.domain.audit import Deed, Link
from backchannel.domain.canonical import digest
from backchannel.domain.supervision.reconcile import ending, place_for
from backchannel.errors import BackchannelError
from backchannel.jetstream.page import page
from backchannel.jetstream.read import last
from backchannel.logger import Logger
from backchannel.protocol.json_object import read_object
from backchannel.protocol.subject import AUDIT, audit_of, events_stream, order_subject
from backchannel.service.audit.locate import link_of, locate
from backchannel.service.house import House

log = Logger(__name__)
ENTITY = "unfinished"
MOST = 10_000
NAMED = 40
"""Of how many the record tells; the list of all of them is made when somebody asks."""
LOOK_EVERY = 5.0
"""Seconds; what began since the last look may be about to end by itself."""
SELDOM = 600.0
"""Seconds between two looks at what may stay open for long, as a question to a human."""
SHOWN = ("position", "at", "category", "entity", "action", "of")


@dataclass(slots=True)
class Open:
    """An intent that has no result, and when to look next at what the log says of it."""

    fields: Mapping[str, Any]
    due: float
    pause: float = LOOK_EVERY


class Unfinished:
    """The intents of one group that have no result; at most the newest ten thousand."""

    def __init__(self, house: House, group: str) -> None:
        self._house = house
        self._group = group
        self._open: dict[str, Open] = {}
        self._after: int | None = None

    async def run(self) -> None:
        """Until cancelled: whoever died between what it did and its word for the trail is spoken for."""
        while True:
            try:
                await self._look()
            except BackchannelError as problem:
                log.info("unfinished_intents_unknown", group=self._group, problem=problem.message)
            await asyncio.sleep(LOOK_EVERY)

    async def _look(self) -> None:
        if self._after is None:
            after = await self._read(await self._begin())
            await self._tell()
            self._after = after
            return
        self._after = await self._read(self._after)
        now = asyncio.get_running_loop().time()
        due = [one for one in self._open.values() if one.due <= now]
        count = 0
        for one in due:
            count += await self._ended(one)
            one.pause = min(2 * one.pause, SELDOM)
            one.due = now + one.pause
        if count:
            log.info("intents_reconciled", group=self._group, count=count)

    async def _read(self, after: int) -> int:
        """Weigh everything in the trail behind a place of the stream; up to which place that was."""
        done, due = False, asyncio.get_running_loop().time() + LOOK_EVERY
        while not done:
            part = await page(self._house.connection, AUDIT, after, filter=audit_of(self._group))
            for record in part.records:
                if (link := link_of(record)) is not None:
                    self._weigh(link, due)
            after, done = part.last_sequence_scanned, part.done
        return after

    def _weigh(self, link: Link, due: float) -> None:
        of = link.fields["of"]
        match link.fields["phase"]:
            case "intent" if of is not None:
                self._open.setdefault(of, Open(link.fields, due))
                if len(self._open) > MOST:
                    del self._open[next(iter(self._open))]
            case "result" if of is not None:
                self._open.pop(of, None)

    async def _tell(self) -> None:
        """Put on record which intents have no result, for whoever looks after a start."""
        found = [{name: one.fields[name] for name in SHOWN} for one in self._open.values()]
        if found:
            oldest = {"from": found[0]["position"], "count": len(found), "intents": found[-NAMED:]}
            await self._house.trail.write(Deed(self._group, "platform", ENTITY, "unfinished", oldest))
            log.warning("intents_without_result", group=self._group, count=len(found))

    async def _ended(self, one: Open) -> bool:
        """End on record what has ended in the log, and only there: a death came between."""
        intent = one.fields
        if (place := place_for(intent)) is None:
            return False
        subject = order_subject(self._group, place)
        record = await last(self._house.connection, events_stream(self._group), subject)
        mark = read_object(record.payload) if record is not None and record.payload else None
        if (facts := ending(intent, mark, datetime.now(UTC))) is None:
            return False
        names = (intent["category"], intent["entity"], intent["action"])
        deed = Deed.result(self._group, *names, facts, intent["of"])
        once = digest({"ends": intent["id"]})[:32]  # also where several processes look
        await self._house.trail.write(replace(deed, id=once))
        self._open.pop(intent["of"], None)
        return True

    async def _begin(self) -> int:
        """A place before the oldest that had not ended when somebody looked last."""
        connection = self._house.connection
        record = await last(connection, AUDIT, f"bc.{self._group}.audit.platform.{ENTITY}")
        link = link_of(record) if record is not None else None
        begun = link.fields["facts"].get("from") if link is not None else None
        if not isinstance(begun, int) or begun <= 0:
            return 0
        return max((await locate(connection, self._group, begun))[0] - 1, 0)
