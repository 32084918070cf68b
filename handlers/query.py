"""Answers what is known: contexts, sidebars, agents, and how things stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import Field
from pydantic_core import to_json

from backchannel.delivery.cursor import Cursor
from backchannel.domain.directory import outline
from backchannel.domain.paging import page_of, shortened
from backchannel.domain.rights import Action, Asker, is_operator, may
from backchannel.domain.sidebar import Sidebar, fold
from backchannel.errors import NotFound
from backchannel.jetstream.read import page
from backchannel.protocol.identifier import MAIN, Identifier
from backchannel.protocol.message import rfc3339
from backchannel.protocol.sidebar_status import SidebarStatus
from backchannel.protocol.subject import events_stream, life_of
from backchannel.service.context import Inquiry
from backchannel.service.declare import Service
from backchannel.service.exchanges import MOST, MOST_BYTES, exchanges_of
from backchannel.service.lives import Lives, event_of
from backchannel.service.params import Params, understood
from backchannel.service.shelf import Search
from backchannel.service.show import shown, summary

service = Service("query", about=__doc__)
MOST_NAMED = 100
"""Names that the answer to ``status`` lists; it counts all of them."""


class ContextParams(Params):
    context_id: Identifier = MAIN
    after: str | None = None
    until: str | None = None
    limit: int = Field(default=50, ge=1, le=MOST)
    inherited: bool = False


class SidebarParams(Params):
    sidebar_id: Identifier
    until: str | None = None


class SidebarsParams(Params):
    status: SidebarStatus | None = None
    agent: Identifier | None = None
    parent_id: Identifier | None = None
    after: Identifier | None = None
    page: Identifier | None = None
    limit: int = Field(default=1000, ge=1, le=10_000)


class AgentsParams(Params):
    agent_id: Identifier | None = None
    page: Identifier | None = None
    limit: int = Field(default=10_000, ge=1, le=10_000)


@service.answers("ping")
async def ping(inquiry: Inquiry) -> Mapping[str, Any]:
    """Whether anybody answers at all."""
    return {"server_time": rfc3339(datetime.now(UTC)), "group": inquiry.group}


@service.answers("context")
async def context(inquiry: Inquiry) -> Mapping[str, Any]:
    """What was said in a context, a page at a time; with ``inherited`` also what it inherited, first."""
    asked = understood(ContextParams, inquiry.params)
    sidebar = await inquiry.readable(asked.context_id)
    facts = await inquiry.house.log(inquiry.group)
    after = Cursor.parse(asked.after, "params.after").sequence if asked.after else 0
    until = Cursor.parse(asked.until, "params.until").sequence if asked.until else facts.last
    exchanges: list[dict[str, Any]] = []
    if asked.inherited and sidebar is not None and not asked.after:
        exchanges = await _inherited(inquiry, sidebar, asked.limit)
    local = await exchanges_of(
        inquiry.house,
        inquiry.group,
        asked.context_id,
        epoch=facts.epoch,
        after=after,
        until=until,
        limit=max(asked.limit - len(exchanges), 1),
    )
    return {
        "context_id": asked.context_id,
        "exchanges": [*exchanges, *local.exchanges],
        "inherited_context": [found.model_dump(by_alias=True) for found in sidebar.inherited]
        if sidebar
        else [],
        "cursor": str(Cursor(facts.epoch, local.position)),
        "next": str(Cursor(facts.epoch, local.position)) if local.more else None,
    }


async def _inherited(inquiry: Inquiry, sidebar: Sidebar, limit: int) -> list[dict[str, Any]]:
    """The newest ``limit`` // 2 exchanges at most of what the sidebar inherited, farthest ancestor first."""
    room = max(limit // 2, 1)
    found: list[dict[str, Any]] = []
    for stretch in reversed(sidebar.inherited):
        start, end = Cursor.parse(stretch.start), Cursor.parse(stretch.to)
        part = await exchanges_of(
            inquiry.house,
            inquiry.group,
            stretch.context_id,
            epoch=end.epoch,
            after=start.sequence,
            until=end.sequence,
            limit=MOST,
        )
        found.extend({**exchange, "scope": "inherited"} for exchange in part.exchanges)
    return _newest(found[-room:], MOST_BYTES // 2)


def _newest(found: list[dict[str, Any]], most_bytes: int) -> list[dict[str, Any]]:
    """As many of the last ones as fit."""
    kept = len(found)
    while kept and (most_bytes := most_bytes - len(to_json(found[kept - 1]))) >= 0:
        kept -= 1
    return found[kept:]


@service.answers("sidebar")
async def sidebar(inquiry: Inquiry) -> Mapping[str, Any]:
    """One sidebar, as it is or as it was at ``until``; in outline for who may look and not read."""
    asked = understood(SidebarParams, inquiry.params)
    enough = (Action.READ,) if asked.until else (Action.READ, Action.LOOK)
    now, granted = await inquiry.allowed(asked.sidebar_id, *enough)
    facts = await inquiry.house.log(inquiry.group)
    found: Sidebar | None = now
    if asked.until:
        until = Cursor.parse(asked.until, "params.until").sequence
        found = now if until >= now.sequence else await _as_it_was(inquiry, now, until)
    if found is None:
        raise NotFound(f"There was no sidebar {asked.sidebar_id} then.", field="params.sidebar_id")
    told = (shown if Action.READ in granted else summary)(found, facts.epoch)
    return {"sidebar": shortened(told, MOST_BYTES)}


async def _as_it_was(inquiry: Inquiry, found: Sidebar, until: int) -> Sidebar | None:
    life = life_of(inquiry.group, found.sidebar_id)
    stream = events_stream(inquiry.group)
    state: Sidebar | None = None
    position = 0
    while True:
        part = await page(inquiry.house.connection, stream, position, limit=500, filter=life, until=until)
        state = fold(((record.sequence, event_of(record)) for record in part.records), state)
        if part.done or not part.records:
            return state
        position = part.records[-1].sequence


@service.answers("sidebars")
async def sidebars(inquiry: Inquiry) -> Mapping[str, Any]:
    """The sidebars the caller may look at; an operator sees all. Ordered by id, ``next`` pages on."""
    asked = understood(SidebarsParams, inquiry.params)
    lives = inquiry.house.lives[inquiry.group]
    await lives.reach()
    facts = await inquiry.house.log(inquiry.group)
    asker = await inquiry.asker()
    search = Search(asked.status, asked.agent, asked.parent_id, **_limits(asker, lives))
    part = lives.shelf.find(search, after=asked.page or asked.after, limit=asked.limit)
    told = page_of(
        part.sidebars, lambda found: found.sidebar_id, lambda found: summary(found, facts.epoch), asked.limit
    )
    return {
        "sidebars": told.rows,
        "total": part.total,
        "next": told.next or (part.sidebars[-1].sidebar_id if part.more else None),
    }


def _limits(asker: Asker, lives: Lives) -> dict[str, Any]:
    """What a search must keep to, so that it finds what the asker may look at and nothing else."""
    if is_operator(asker):
        return {}

    def allowed(found: Sidebar) -> bool:
        return may(Action.LOOK, asker, found, lives.get(found.parent_id))

    return {"near": asker.charges | {asker.name}, "access": asker.access, "allowed": allowed}


@service.answers("agents")
async def agents(inquiry: Inquiry) -> Mapping[str, Any]:
    """Everyone the group's directory knows, and who of them is connected now. Ordered by name, ``next``
    pages on. Of others than itself and its charges an agent is shown an outline."""
    asked = understood(AgentsParams, inquiry.params)
    roster = await inquiry.house.roster(inquiry.group)
    wanted = [
        agent
        for agent in roster
        if agent["agent_id"] > (asked.page or "") and asked.agent_id in (None, agent["agent_id"])
    ]
    view = await _view_of_agents(inquiry)
    part = page_of(wanted, lambda agent: str(agent["agent_id"]), view, asked.limit)
    return {"agents": part.rows, "total": len(roster), "next": part.next}


async def _view_of_agents(inquiry: Inquiry) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """How the asker sees a row of the roster."""
    asker = await inquiry.asker()
    if is_operator(asker):
        return dict
    complete = asker.charges | {asker.name}
    seen = [found for found in await _seen(inquiry, asker) if found.open]
    active = Counter(member for found in seen for member in found.members)
    inside = {found.sidebar_id for found in seen if not complete.isdisjoint(found.members)}

    def view(row: Mapping[str, Any]) -> dict[str, Any]:
        name = row["agent_id"]
        return dict(row) if name in complete else outline(row, inside, active[name])

    return view


async def _seen(inquiry: Inquiry, asker: Asker) -> list[Sidebar]:
    """Every sidebar that the asker may look at."""
    lives = inquiry.house.lives[inquiry.group]
    await lives.reach()
    return lives.shelf.every(Search(**_limits(asker, lives)))


@service.answers("status")
async def status(inquiry: Inquiry) -> Mapping[str, Any]:
    """How the group stands: agents, the sidebars one may look at, the log; its size is for the operator."""
    understood(Params, inquiry.params)
    asker = await inquiry.asker()
    seen = await _seen(inquiry, asker)
    facts = await inquiry.house.log(inquiry.group)
    size = {"messages": facts.messages, "bytes": facts.bytes} if is_operator(asker) else {}
    roster = await inquiry.house.roster(inquiry.group)
    degraded = [agent["agent_id"] for agent in roster if agent["condition"] == "degraded"]
    return {
        "group": inquiry.group,
        "agents": {
            "known": len(roster),
            "online": sum(1 for agent in roster if agent["online"]),
            "degraded": degraded[:MOST_NAMED],
            "degraded_count": len(degraded),
        },
        "sidebars": dict(Counter(found.status.value for found in seen)),
        "log": {**size, "cursor": str(Cursor(facts.epoch, facts.last))},
        "server_time": rfc3339(datetime.now(UTC)),
    }
