"""The turnstile: ends native connections whose tokens are not believed any more."""

from __future__ import annotations

import asyncio

import pydantic_core

from backchannel.domain.audit import Deed
from backchannel.errors import BackchannelError
from backchannel.jetstream.connection import Arrived
from backchannel.logger import Logger
from backchannel.protocol.claims import Claims
from backchannel.service.house import House
from backchannel.service.keyring import Keyring
from backchannel.service.native.passes import Passes

log = Logger(__name__)
GONE = "$SYS.ACCOUNT.AGENTS.DISCONNECT"
LOOKED = 1.0


class Turnstile:
    """Every process has one; closing what is closed already does no harm."""

    def __init__(self, house: House, keyring: Keyring, passes: Passes) -> None:
        self._house = house
        self._keyring = keyring
        self._passes = passes
        self._changed = asyncio.Event()
        self._forgetting: set[asyncio.Task[None]] = set()

    def look(self) -> None:
        """Rights have changed."""
        self._changed.set()

    async def run(self) -> None:
        """Work until cancelled."""
        departures = await self._house.connection.subscribe(GONE, self._departed, queue="native")
        try:
            while True:
                try:
                    async with asyncio.timeout(LOOKED):
                        await self._changed.wait()
                except TimeoutError:
                    if not self._keyring.changed():
                        continue
                self._changed.clear()
                await self._look()
        finally:
            departures.close()

    async def _look(self) -> None:
        for group in self._house.groups:
            for claims, server, client in self._passes.connections(group):
                if (why := self._keyring.why_not_any_more(claims)) is None:
                    continue
                log.info("native_connection_ended", agent=claims.sub, reason=why)
                await self._end(server, client)
                deed = Deed(group, "security", claims.sub, "native_closed", {"token_id": claims.jti})
                self._house.trail.note(deed)
                await self._passes.forget(group, claims.sub, server, client)

    async def _end(self, server: str, client: int) -> None:
        """Ask the server to close a connection; one that it does not have any more is no matter."""
        try:
            payload = pydantic_core.to_json({"cid": client})
            await self._house.connection.request(f"$SYS.REQ.SERVER.{server}.KICK", payload, timeout=2.0)
        except BackchannelError as error:
            log.warning("native_connection_not_ended", client=client, error=error.message)

    def _departed(self, event: Arrived) -> None:
        try:
            told = pydantic_core.from_json(event.payload)
            server, client = str(told["server"]["id"]), int(told["client"]["id"])
        except (ValueError, KeyError, TypeError):
            return
        claims = self._passes.find(server, client)
        if claims is not None:
            task = asyncio.get_running_loop().create_task(self._forget(claims, server, client))
            self._forgetting.add(task)
            task.add_done_callback(self._forgetting.discard)

    async def _forget(self, claims: Claims, server: str, client: int) -> None:
        """What is not forgotten now lapses with its token."""
        facts = {"client": client, "server": server, "token_id": claims.jti}
        deed = Deed(claims.collaboration_group, "connection", claims.sub, "native_disconnected", facts)
        self._house.trail.note(deed)
        try:
            await self._passes.forget(claims.collaboration_group, claims.sub, server, client)
        except BackchannelError as error:
            log.debug("pass_not_forgotten", error=error.message)
