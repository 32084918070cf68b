"""What was announced and never ended: intents in the trail without a result."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from backchannel.domain.audit import Link
from backchannel.domain.supervision.reconcile import ending, place_for
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.page import page
from backchannel.jetstream.read import last
from backchannel.protocol.json_object import read_object
from backchannel.protocol.subject import AUDIT, audit_of, events_stream, order_subject
from backchannel.service.audit.locate import head, link_of, locate
from backchannel.service.trail import Deed, Trail

ENTITY = "unfinished"
MOST = 10_000
NAMED = 40
"""Of how many the record tells; the list of all of them is made when somebody asks."""


async def unfinished(connection: Connection, group: str) -> list[dict[str, Any]]:
    """Every intent that has no result as of now, oldest first; at most the newest ten thousand."""
    begun = await _begin(connection, group)
    after, done = (await locate(connection, group, begun))[0] - 1 if begun else 0, False
    newest = await head(connection, group)
    until = newest.position if newest else 0
    found: dict[str, Link] = {}
    while not done:
        part = await page(connection, AUDIT, max(after, 0), filter=audit_of(group))
        for record in part.records:
            link = link_of(record)
            if link is not None and link.position <= until:
                _weigh(found, link)
        after, done = part.last_sequence_scanned, part.done
    return [_shown(link) for link in found.values()]


async def tell_unfinished(connection: Connection, trail: Trail, group: str) -> list[str]:
    """Put on record which intents have no result, for whoever looks after a start; what they belong to."""
    found = await unfinished(connection, group)
    if found:
        oldest = {"from": found[0]["position"], "count": len(found), "intents": found[-NAMED:]}
        await trail.write(Deed(group, "platform", ENTITY, "unfinished", oldest))
    return [one["of"] for one in found]


async def reconcile(connection: Connection, trail: Trail, group: str, before: Iterable[str]) -> int:
    """End on record what has ended in the log, and only there: a death came between. How many those are.

    Args:
        before: what was unfinished some time ago; what began since may be about to end by itself.
    """
    known, count = frozenset(before), 0
    for one in await unfinished(connection, group):
        link = (await locate(connection, group, one["position"]))[1]
        if link is None or one["of"] not in known or (place := place_for(link.fields)) is None:
            continue
        record = await last(connection, events_stream(group), order_subject(group, place))
        if record is None or not record.payload:
            continue
        if (facts := ending(link.fields, read_object(record.payload))) is not None:
            names = (one["category"], one["entity"], one["action"])
            await trail.write(Deed.result(group, *names, facts, one["of"]))
            count += 1
    return count


def _weigh(found: dict[str, Link], link: Link) -> None:
    of = link.fields["of"]
    match link.fields["phase"]:
        case "intent" if of is not None:
            found.setdefault(of, link)
            if len(found) > MOST:
                del found[next(iter(found))]
        case "result" if of is not None:
            found.pop(of, None)


async def _begin(connection: Connection, group: str) -> int:
    """Everything before this position has ended: the oldest that had not when somebody looked last."""
    record = await last(connection, AUDIT, f"bc.{group}.audit.platform.{ENTITY}")
    link = link_of(record) if record is not None else None
    begun = link.fields["facts"].get("from") if link is not None else None
    return begun if isinstance(begun, int) else 0


def _shown(link: Link) -> dict[str, Any]:
    names = ("position", "at", "category", "entity", "action", "of")
    return {name: link.fields[name] for name in names}
