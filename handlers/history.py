"""Answers how a sidebar came to be what it is: every move, with who and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from itertools import accumulate
from typing import Any

from pydantic import Field

from backchannel.delivery.cursor import Cursor
from backchannel.domain.rights import Action
from backchannel.domain.sidebar.history import move_of
from backchannel.jetstream.read import Record, page
from backchannel.protocol.identifier import Identifier
from backchannel.protocol.subject import events_stream, life_of
from backchannel.service.context import Inquiry
from backchannel.service.declare import Service
from backchannel.service.lives import event_of
from backchannel.service.params import Params, understood

service = Service("history", about=__doc__)
MOST_BYTES = 512 * 1024


class HistoryParams(Params):
    """Which sidebar, and which stretch of its life: positions in (after, until]."""

    sidebar_id: Identifier
    after: str | None = None
    until: str | None = None
    limit: int = Field(default=200, ge=1, le=500)


@service.answers("history")
async def history(inquiry: Inquiry) -> Mapping[str, Any]:
    """The moves of a sidebar, oldest first; ``next`` pages on."""
    asked = understood(HistoryParams, inquiry.params)
    await inquiry.allowed(asked.sidebar_id, Action.READ)
    facts = await inquiry.house.log(inquiry.group)
    after = Cursor.parse(asked.after, "params.after").sequence if asked.after else 0
    until = Cursor.parse(asked.until, "params.until").sequence if asked.until else facts.last
    part = await page(
        inquiry.house.connection,
        events_stream(inquiry.group),
        after,
        limit=asked.limit,
        filter=life_of(inquiry.group, asked.sidebar_id),
        until=until,
    )
    records = _fitting(part.records)
    done = len(records) == len(part.records) and part.done
    return {
        "sidebar_id": asked.sidebar_id,
        "moves": _moves(asked.sidebar_id, records, facts.epoch),
        "next": None if done or not records else str(Cursor(facts.epoch, records[-1].sequence)),
    }


def _fitting(records: list[Record]) -> list[Record]:
    """As many as fit into one answer, at least one."""
    sizes = accumulate(len(record.payload) for record in records)
    most = sum(1 for size in sizes if size <= MOST_BYTES)
    return records[: max(most, 1)]


def _moves(sidebar_id: str, records: list[Record], epoch: str) -> list[dict[str, Any]]:
    found = ((record.sequence, move_of(sidebar_id, event_of(record))) for record in records)
    return [{"cursor": str(Cursor(epoch, at)), **asdict(move)} for at, move in found if move is not None]
