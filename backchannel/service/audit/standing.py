"""How it stands with the copies of the trail: told by who keeps them, asked by bridge and doctor."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pydantic_core

from backchannel.errors import BackchannelError
from backchannel.jetstream.connection import Arrived, Connection, Subscription
from backchannel.logger import Logger
from backchannel.protocol.subject import operator_subject

log = Logger(__name__)
LAG = 1_000
"""Records by which a copy may be behind before that counts as a fault."""
_running: set[asyncio.Task[None]] = set()

Told = Callable[[str], Awaitable[dict[str, Any]]]


async def answer(connection: Connection, group: str, told: Told) -> Subscription:
    """Answer questions about a group until what it returns is closed."""

    async def reply(request: Arrived) -> None:
        try:
            await connection.send(request.reply, pydantic_core.to_json(await told(group)))
        except BackchannelError as error:
            log.warning("audit_standing_untold", error=error.message)

    def asked(request: Arrived) -> None:
        if request.reply:
            task = asyncio.get_running_loop().create_task(reply(request))
            _running.add(task)
            task.add_done_callback(_running.discard)

    return await connection.subscribe(operator_subject(group, "audit"), asked)


async def ask(connection: Connection, group: str, patience: float = 2.0) -> dict[str, Any]:
    """
    Raises:
        Unavailable: nobody keeps copies, or does not answer.
    """
    reply = await connection.request(operator_subject(group, "audit"), timeout=patience)
    told: dict[str, Any] = pydantic_core.from_json(reply.payload)
    return told


def faults_of(told: Mapping[str, Any]) -> list[str]:
    """What is wrong with the copies of a group, in words; empty if they are well."""
    found = []
    for copy in told["copies"]:
        name = f"the copy of the audit trail of {told['group']} in {copy['copy']}"
        if copy["failing"]:
            found.append(f"{name} waits: {copy['failing']}")
        elif told["position"] - copy["position"] > LAG:
            found.append(f"{name} is {told['position'] - copy['position']} records behind")
        found += [f"{name} is damaged: {fault}" for fault in copy["faults"]]
    if told.get("writing"):
        found.append(f"the audit trail of {told['group']} takes nothing: {told['writing']}")
    if told.get("sealing"):
        found.append(f"the audit trail of {told['group']} is not sealed: {told['sealing']}")
    return found
