"""What an operator does, on record: in the audit trail of the group that it is about."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from backchannel.domain.audit import Deed
from backchannel.domain.audit.deed import Category
from backchannel.errors import BackchannelError
from backchannel.home import Settings
from backchannel.jetstream.connection import Connection
from backchannel.protocol.claims import Claims
from backchannel.protocol.message import rfc3339
from backchannel.service.audit.operator import enter
from backchannel.service.keeping import pepper_of
from backchannel.service.trail import Trail
from cli.reach import reach

PATIENCE = 2.0


def token_facts(claims: Claims) -> dict[str, Any]:
    """What the trail keeps of a token: everything but the token."""
    return {
        "token_id": claims.jti,
        "entity_type": claims.entity_type,
        "expires": rfc3339(datetime.fromtimestamp(claims.exp, UTC)),
        "claims": claims.model_dump(mode="json", exclude_none=True, exclude={"nonce"}),
    }


async def entered(
    settings: Settings, group: str, category: Category, entity: str, action: str, facts: Mapping[str, Any]
) -> bool:
    """Enter an operator's deed; False when no platform runs that could take it.

    What is about a group that is not served is entered for the first one that is.

    Raises:
        Unavailable: one runs, and does not take it; then it must not be done.
    """
    try:
        connection = await reach(settings, wait=PATIENCE)
    except BackchannelError:
        return False
    try:
        served = settings.runtime().groups
        await enter(connection, group if group in served else served[0], category, entity, action, facts)
    finally:
        await connection.close()
    return True


async def platform_deed(
    connection: Connection, settings: Settings, groups: Sequence[str], action: str, facts: Mapping[str, Any]
) -> None:
    """What `up` does itself, in the trail of every group. Raises Unavailable."""
    trail = Trail(connection, source="up", pepper=pepper_of(settings.audit_key()), patience=PATIENCE)
    try:
        deeds = [Deed(group, "platform", "platform", action, facts) for group in groups]
        await asyncio.gather(*map(trail.write, deeds))
    finally:
        await trail.close(0)
