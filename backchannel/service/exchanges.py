"""Reading what was said in a context: its exchanges, in order, from the log."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from backchannel.delivery.cursor import Cursor
from backchannel.domain.sidebar import Brought
from backchannel.errors import BackchannelError
from backchannel.jetstream.read import Record, page
from backchannel.protocol.json_object import read_object
from backchannel.protocol.message import one_form
from backchannel.protocol.subject import InContext, content_of, events_stream, locate
from backchannel.service.house import House

FEW = 50
MOST = 500
AT_ONCE = 200
MOST_BYTES = 512 * 1024
PAGES_BROUGHT = 20
TOLD_IN_LIFE = frozenset({"sidebar_merge", "sidebar_test_result"})
"""Events of a sidebar's life that are part of what it knows, not only of what became of it."""


@dataclass(frozen=True, slots=True)
class Found:
    """Exchanges in log order, and the position up to which the log was read; ``more`` if there is more."""

    exchanges: list[dict[str, Any]]
    position: int
    more: bool


async def exchanges_of(
    house: House,
    group: str,
    context_id: str,
    *,
    epoch: str,
    after: int,
    until: int,
    limit: int,
    most_bytes: int = MOST_BYTES,
) -> Found:
    """Up to ``limit`` exchanges of a context at positions in (after, until], of ``most_bytes`` together; one
    that is larger by itself comes alone."""
    found: list[dict[str, Any]] = []
    size = 0
    position = after
    while position < until:
        records = await page(
            house.connection,
            events_stream(group),
            position,
            limit=AT_ONCE,
            filter=content_of(group, context_id),
            until=until,
        )
        for record in records.records:
            exchange = _exchange(record, epoch)
            if exchange is not None:
                size += len(record.payload)
                if len(found) >= limit or (found and size > most_bytes):
                    return Found(found, position, True)
                found.append(exchange)
            position = record.sequence
        if records.done:
            break
    return Found(found, until, False)


async def few_exchanges(
    house: House, group: str, ranges: Sequence[Mapping[str, Any]], budget: int
) -> list[dict[str, Any]] | None:
    """All exchanges of the ranges, nearest first; None if they are many, or more than ``budget`` bytes."""
    found: list[dict[str, Any]] = []
    room = budget
    for stretch in ranges:
        start, end = Cursor.parse(stretch["from"]), Cursor.parse(stretch["to"])
        part = await exchanges_of(
            house,
            group,
            stretch["context_id"],
            epoch=end.epoch,
            after=start.sequence,
            until=end.sequence,
            limit=FEW - len(found) + 1,
            most_bytes=room,
        )
        room -= sum(len(to_json(exchange)) for exchange in part.exchanges)
        found.extend({**exchange, "scope": "inherited"} for exchange in part.exchanges)
        if part.more or len(found) > FEW or room < 0:
            return None
    return found


async def brought(
    house: House,
    group: str,
    contexts: Sequence[str],
    named: Collection[str],
    *,
    until: Cursor,
    budget: int,
) -> Brought:
    """What these contexts refer to, and of the exchanges ``named`` by id, in log order, what fits into
    ``budget`` bytes. Of each context 20 pages are read: 10,000 exchanges, fewer if they are large."""
    refs: dict[str, None] = {}
    exchanges: list[dict[str, Any]] = []
    for context_id in contexts:
        position = 0
        for _ in range(PAGES_BROUGHT):
            found = await exchanges_of(
                house, group, context_id, epoch=until.epoch, after=position, until=until.sequence, limit=MOST
            )
            for exchange in found.exchanges:
                refs |= dict.fromkeys(_refs(exchange))
                if one_form(str(exchange.get("message_id"))) not in named:
                    continue
                if (size := len(to_json(exchange))) <= budget:
                    exchanges.append(exchange)
                    budget -= size
            position = found.position
            if not found.more:
                break
    return Brought(tuple(refs), tuple(exchanges))


def _refs(exchange: Mapping[str, Any]) -> list[str]:
    """What an exchange rests on, wherever its type keeps that."""
    inner = exchange.get("exchange")
    places = (exchange, inner if isinstance(inner, dict) else {})
    return [ref for place in places for ref in place.get("data_refs") or () if isinstance(ref, str)]


def _exchange(record: Record, epoch: str) -> dict[str, Any] | None:
    located = locate(record.subject)
    if located is None or not isinstance(located.to, InContext):
        return None
    try:
        said = read_object(record.payload)
    except BackchannelError:
        return None
    if located.to.kind == "life" and said.get("type") not in TOLD_IN_LIFE:
        return None
    if located.to.kind == "presence":
        return None
    return {
        **said,
        "context_id": located.to.context_id,
        "cursor": str(Cursor(epoch, record.sequence)),
        "scope": "local",
    }
