"""What one handlers process knows of its groups: the log, the sidebars, the directory."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import from_json

from backchannel.delivery.budget import ByteBudget
from backchannel.domain.directory import bounded, humans_of
from backchannel.domain.settings import Settings
from backchannel.domain.sidebar import Sidebar, fold
from backchannel.errors import Forbidden, Unavailable
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.publish import Publisher
from backchannel.jetstream.read import StreamFacts, describe, following, page
from backchannel.protocol.json_object import read_object
from backchannel.protocol.subject import events_stream, life_of, order_subject
from backchannel.service.hearing import Hearing
from backchannel.service.keeping import NOWHERE, Records
from backchannel.service.lives import Lives, event_of
from backchannel.service.parking import Quarantine
from backchannel.service.rights import Rights
from backchannel.service.rounds import Members
from backchannel.service.settings import LiveSettings
from backchannel.service.trail import Trail
from backchannel.service.trust import Trust

LIFE_AT_ONCE = 256
PAGE = 500
POST_SECONDS = 5.0
FOLLOW_UPS = 2
"""How many bytes may follow from each that an agent may send: the doors charge the messages themselves."""


class House:
    """Connections and views shared by all services of this process."""

    def __init__(
        self,
        connection: Connection,
        groups: Sequence[str],
        records: Records = NOWHERE,
        trust: Trust | None = None,
    ) -> None:
        self.connection = connection
        self.trust = trust
        self._announced: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.records = records
        self.grant_key = records.grant_key()
        self.trail = Trail(connection, source="handlers", pepper=records.pepper)
        self.groups = tuple(groups)
        self.publisher = Publisher(connection)
        self.agents = Bucket(connection, "BC_agents")
        self.presence = Bucket(connection, "BC_presence")
        self.sessions = Bucket(connection, "BC_sessions")
        self.rights = Rights(connection)
        self.lives = {group: Lives(connection, group) for group in groups}
        self.quarantine = Quarantine(self.publisher, self.humans)
        self.hearings = {group: Hearing(connection, group, self._members_in(group)) for group in groups}
        self._settings = LiveSettings(connection)
        self.budget = ByteBudget(lambda: FOLLOW_UPS * self.settings().limits.agent_bytes_per_second)

    async def open(self) -> None:
        """Read the settings, and the lives of all sidebars from the logs; go on following both."""
        await self._settings.open()
        await asyncio.gather(*(lives.start() for lives in self.lives.values()))

    async def close(self) -> None:
        await asyncio.gather(*(lives.stop() for lives in self.lives.values()))
        await asyncio.gather(*(hearing.close() for hearing in self.hearings.values()))
        await self._settings.close()
        await self.trail.close()

    def announce(self, service: str) -> None:
        """A service that the process is not ready without does its work."""
        self._announced[service].set()

    async def announced(self, service: str) -> None:
        await self._announced[service].wait()

    def settings(self) -> Settings:
        """What is in force now."""
        return self._settings.current

    async def log(self, group: str) -> StreamFacts:
        return await describe(self.connection, events_stream(group))

    async def past(self, group: str, sidebar_id: str) -> Sidebar | None:
        """The state as the log has it now: what is known already, and what was added since."""
        sidebar = self.lives[group].get(sidebar_id)
        while True:
            records = await following(
                self.connection,
                events_stream(group),
                life_of(group, sidebar_id),
                sidebar.sequence if sidebar else 0,
                LIFE_AT_ONCE,
            )
            sidebar = fold(((found.sequence, event_of(found)) for found in records), sidebar)
            if len(records) < LIFE_AT_ONCE:
                return sidebar

    async def post(self, address: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Post to another program, whose address an operator has set.

        Raises:
            Unavailable: it did not take it, and may later.
            Forbidden: it does not want it.
        """
        import httpx  # few platforms call other programs, and every start would load it

        try:
            async with httpx.AsyncClient(timeout=POST_SECONDS, trust_env=False) as client:
                answer = await client.post(address, content=body, headers=dict(headers))
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            raise Unavailable(f"The callback cannot be delivered: {type(problem).__name__}.") from None
        if answer.status_code >= 500 or answer.status_code == 429:
            raise Unavailable(f"The callback was answered with {answer.status_code}.")
        if not answer.is_success:
            raise Forbidden(f"The callback was answered with {answer.status_code}.")

    async def marks(self, group: str, family: str) -> list[dict[str, Any]]:
        """What every mark below a name says now; those that were taken back are left out."""
        stream, wanted = events_stream(group), order_subject(group, f"{family}.>")
        found: list[dict[str, Any]] = []
        position = 0
        while True:
            part = await page(self.connection, stream, position, limit=PAGE, filter=wanted)
            found += [read_object(record.payload) for record in part.records if record.payload]
            if part.done or not part.records:
                return found
            position = part.records[-1].sequence

    async def entries(self, group: str, agents: Iterable[str]) -> dict[str, Mapping[str, Any] | None]:
        """What the directory says of each of these, in their order; None of one that it does not know."""
        named = list(dict.fromkeys(agents))
        found = await asyncio.gather(*(self.agents.get(f"{group}.{agent}") for agent in named))
        told = (from_json(value.payload) if value is not None else None for value in found)
        return dict(zip(named, told, strict=True))

    async def is_connected(self, group: str, agent: str) -> bool:
        """Whether an agent has a connection to any bridge; the newest lease as the leader has it."""
        if await self.presence.newest(f"{group}.{agent}.*") is not None:
            return True
        return bool(await self.presence.entries(f"{group}.{agent}.*"))

    async def charges(self, group: str, supervisor: str) -> frozenset[str]:
        """The agents whose tokens name this one as their human supervisor."""
        known = await self.agents.entries(f"{group}.*")
        return frozenset(
            key.split(".")[1]
            for key, value in known
            if from_json(value.payload).get("human_supervisor") == supervisor
        )

    def _members_in(self, group: str) -> Members:
        def members(context_id: str) -> frozenset[str]:
            sidebar = self.lives[group].get(context_id)
            return frozenset(sidebar.members) if sidebar is not None else frozenset()

        return members

    async def humans(self, group: str, agent: str) -> frozenset[str]:
        """Who looks after an agent, by the token with which it last came."""
        known = await self.agents.get(f"{group}.{agent}")
        return humans_of(from_json(known.payload)) if known is not None else frozenset()

    async def roster(self, group: str) -> list[dict[str, Any]]:
        """Every agent the directory knows, by name, with whether it is connected now and what it is in."""
        known, leases = await asyncio.gather(
            self.agents.entries(f"{group}.*"), self.presence.entries(f"{group}.*.*")
        )
        online: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for key, value in leases:
            online[key.split(".")[1]].append(from_json(value.payload))
        busy = self.lives[group].shelf.busy()
        roster = []
        for key, value in known:
            told: dict[str, Any] = from_json(value.payload)
            agent = key.split(".")[1]
            roster.append(_standing(told, agent, online.get(agent, []), busy.get(agent, 0)))
        return sorted(roster, key=lambda agent: str(agent["agent_id"]))


def _standing(
    told: dict[str, Any], agent: str, leases: Sequence[Mapping[str, Any]], sidebars: int
) -> dict[str, Any]:
    """A lease says whether an agent is connected; what it said of itself counts only while it is."""
    shown = {key: value for key, value in bounded(told).items() if key != "noted_at"}
    said = told.get("status", "online")
    status = ("online" if said == "offline" else said) if leases else "offline"
    best = max(leases, key=lambda lease: int(lease.get("health", 0)), default={})
    return {
        **shown,
        "agent_id": agent,
        "online": bool(leases),
        "connections": len(leases),
        "links": [{name: told for name, told in lease.items() if name != "agent_id"} for lease in leases],
        "status": status,
        "health": best.get("health", 0),
        "condition": best.get("condition", "healthy") if leases else "offline",
        "readiness": best.get("readiness", "unavailable"),
        "active_sidebars": sidebars,
    }
