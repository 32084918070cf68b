"""Answers how a sidebar came to be what it is: every move, with who and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from pydantic import Field

from backchannel.delivery.cursor import Cursor
from backchannel.domain.paging import page_of
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


class HistoryParams(Params):
    """Which sidebar, and which stretch of its life: positions in (after, until]."""

    sidebar_id: Identifier
    after: str | None = None
    until: str | None = None
    limit: int = Field(default=200, ge=1, le=500)


@service.answers("history", searches=True)
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
    told = page_of(
        _moves(asked.sidebar_id, part.records, facts.epoch),
        lambda move: str(move["cursor"]),
        lambda move: move,
        asked.limit,
    )
    end = str(Cursor(facts.epoch, part.records[-1].sequence)) if part.records and not part.done else None
    return {"sidebar_id": asked.sidebar_id, "moves": told.rows, "next": told.next or end}


def _moves(sidebar_id: str, records: Iterable[Record], epoch: str) -> Iterator[dict[str, Any]]:
    for record in records:
        move = move_of(sidebar_id, event_of(record))
        if move is not None:
            yield {"cursor": str(Cursor(epoch, record.sequence)), **asdict(move)}
