"""Lets in agents that speak NATS themselves, and stands between them and the log."""

from __future__ import annotations

import asyncio
import time

from backchannel.jetstream.nkey import Nkey
from backchannel.service.declare import Service
from backchannel.service.freshness import Freshness
from backchannel.service.house import House
from backchannel.service.keyring import Keyring
from backchannel.service.native.callout import Callout
from backchannel.service.native.door import Door
from backchannel.service.native.gate import Gate
from backchannel.service.native.passes import Passes
from backchannel.service.native.reading import Reading
from backchannel.service.native.refusals import Refusals
from backchannel.service.native.servers import Servers
from backchannel.service.native.turnstile import Turnstile
from backchannel.service.rights import RightsInForce

service = Service("native", about=__doc__, awaited=True)


@service.duty
async def admission(house: House) -> None:
    """Who may come in, and what they say; as long as the process runs."""
    trust = house.trust
    if trust is None:  # nobody comes in over NATS, and there is nothing to do
        house.announce(service.name)
        await asyncio.Event().wait()
        return
    rights, servers = RightsInForce(), Servers(house.connection)
    keyring = Keyring(trust.tokens, time.time, house.groups, rights=rights, nonce_needed=trust.nonce_needed)
    passes = Passes(house.connection, lambda claims: keyring.why_not_any_more(claims) is None)
    turnstile = Turnstile(house, keyring, passes, servers)
    callout = Callout(house, keyring, Nkey(trust.callout), passes, servers)
    listening = await house.connection.another("native")
    refusals = Refusals(house.trail, house.groups[0])
    freshness = Freshness(rights.catch_up, passes.catch_up)
    gate = Gate(house.settings, passes, rights, refusals, freshness, turnstile.keep_out)
    door = Door(house, listening, gate)
    try:
        await rights.open(house.connection, lambda group, entity: turnstile.look())
        await passes.open()
        await door.open()
        await callout.open()
        readings = [Reading(house, listening, group, passes, gate) for group in house.groups]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(turnstile.run())
            tasks.create_task(refusals.run())
            tasks.create_task(freshness.run())
            for reading in readings:
                tasks.create_task(reading.run())
            for reading in readings:
                await reading.settled.wait()
            house.announce(service.name)
    finally:
        await callout.close()
        await door.close()
        await gate.close()
        await listening.close()
        await passes.close()
        await rights.close()
