"""The turnstile: ends native connections whose tokens are not believed any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress

import pydantic_core

from backchannel.domain.audit import Deed
from backchannel.errors import BackchannelError
from backchannel.jetstream.connection import Arrived
from backchannel.logger import Logger
from backchannel.service.house import House
from backchannel.service.keyring import Keyring
from backchannel.service.native.passes import Held, Passes
from backchannel.service.native.servers import Servers

log = Logger(__name__)
GONE = "$SYS.ACCOUNT.AGENTS.DISCONNECT"
LOOKED = 1.0
LOOKED_ANYWAY = 5.0
"""Seconds between two looks at all connections, whether anything is known to have changed or not."""
AT_ONCE = 64
"""Connections that are being ended."""
COMPARED = 30.0
"""Seconds between two comparisons of the passes with the connections that there really are."""
SETTLED = 15.0
"""Seconds for which a connection may be on its way in: it has a pass before the server lists it."""


class Turnstile:
    """Every process has one; closing what is closed already does no harm."""

    def __init__(self, house: House, keyring: Keyring, passes: Passes, servers: Servers) -> None:
        self._house = house
        self._keyring = keyring
        self._passes = passes
        self._servers = servers
        self._changed = asyncio.Event()
        self._forgetting: set[asyncio.Task[None]] = set()

    def look(self) -> None:
        """Rights have changed."""
        self._changed.set()

    async def run(self) -> None:
        """Work until cancelled."""
        departures = await self._house.connection.subscribe(GONE, self._departed, queue="native")
        clock = asyncio.get_running_loop().time
        looked = compared = float("-inf")  # connections may have come and gone, and rights changed, before us
        try:
            while True:
                due = self._passes.any_barred or clock() - looked > LOOKED_ANYWAY
                if self._keyring.changed() or self._changed.is_set() or due:
                    self._changed.clear()
                    looked = clock() if await self._look() else float("-inf")
                if clock() - compared > COMPARED:
                    compared = clock()
                    await self._compare()
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOKED):
                        await self._changed.wait()
        finally:
            departures.close()

    async def _look(self) -> bool:
        """End every connection whose token does not count any more. Whether all of them have ended."""
        to_end = [
            (held, why)
            for group in self._house.groups
            for held in self._passes.connections(group)
            if (why := self._why_not_any_more(held)) is not None
        ]
        ended = True
        for start in range(0, len(to_end), AT_ONCE):
            some = to_end[start : start + AT_ONCE]
            ended = all(await asyncio.gather(*(self._end(held, why) for held, why in some))) and ended
        return ended

    def _why_not_any_more(self, held: Held) -> str | None:
        if held.claims is None:
            return "The pass with which it was let in cannot be read."
        if self._passes.barred_for(held.group, held.agent):  # it came in just before that was known
            return "It is kept out for a while."
        return self._keyring.why_not_any_more(held.claims)

    async def _end(self, held: Held, why: str) -> bool:
        """Its pass stays until the server has closed it: it could go on with another's rights otherwise."""
        try:
            await self._servers.close(held.server, held.client)
        except BackchannelError as error:
            log.warning("native_connection_not_ended", client=held.client, error=error.message)
            return False
        log.info("native_connection_ended", agent=held.agent, reason=why)
        facts = {"token_id": held.claims.jti if held.claims is not None else None}
        self._house.trail.note(Deed(held.group, "security", held.agent, "native_closed", facts))
        await self._forget(held)
        return True

    async def _compare(self) -> None:
        """Bring passes and connections together: the end of a connection may have gone unheard, and a
        connection without a pass must not go on as one that has one."""
        held = {
            (one.server, one.client): one
            for group in self._house.groups
            for one in self._passes.connections(group)
        }
        for server in {server for server, _ in held}:
            try:
                await self._compare_with(server, held)
            except BackchannelError as error:
                log.debug("native_connections_not_compared", error=error.message)

    async def _compare_with(self, server: str, held: Mapping[tuple[str, int], Held]) -> None:
        found = await self._servers.open_at(server)
        settled = time.time() - SETTLED
        for one in held.values():
            if one.server == server and one.issued < settled and one.client not in (found or {}):
                await self._forget(one)
        for client, (user, since) in (found or {}).items():
            if (server, client) not in held and since < settled and self._is_ours(user):
                log.warning("native_connection_without_pass", user=user[:130])
                await self._servers.close(server, client)

    def _is_ours(self, user: str) -> bool:
        """Whether it is a connection of a group that is served here; of another one's we know no passes."""
        return user.partition(".")[0] in self._house.groups

    async def keep_out(self, group: str, agent: str, seconds: float) -> None:
        """It floods the native doors: it is let in no more for a while, and what it has open is closed."""
        log.warning("native_agent_kept_out", agent=agent, seconds=seconds)
        deed = Deed(group, "security", agent, "native_flood", {"kept_out_for": seconds})
        self._house.trail.note(deed)
        self._passes.bar(group, agent, seconds)
        open_now = self._passes.connections(group, agent)
        await asyncio.gather(*(self._end(held, "It sends far more than it may.") for held in open_now))
        try:
            await self._passes.write_bar(group, agent)
        except BackchannelError as error:  # other processes let it in earlier
            log.warning("bar_not_written", agent=agent, error=error.message)

    def _departed(self, event: Arrived) -> None:
        try:
            told = pydantic_core.from_json(event.payload)
            server, client = str(told["server"]["id"]), int(told["client"]["id"])
        except (ValueError, KeyError, TypeError):
            return
        held = self._passes.find(server, client)
        if held is not None:
            task = asyncio.get_running_loop().create_task(self._gone(held))
            self._forgetting.add(task)
            task.add_done_callback(self._forgetting.discard)

    async def _gone(self, held: Held) -> None:
        token = held.claims.jti if held.claims is not None else None
        facts = {"client": held.client, "server": held.server, "token_id": token}
        self._house.trail.note(Deed(held.group, "connection", held.agent, "native_disconnected", facts))
        await self._forget(held)

    async def _forget(self, held: Held) -> None:
        """What is not forgotten now is at the next comparison, or lapses with its token."""
        try:
            await self._passes.forget(held)
        except BackchannelError as error:
            log.debug("pass_not_forgotten", error=error.message)
