"""`backchannel token revoke` and `agents kick`: whom the platform does not believe any more."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import click

from backchannel.jetstream.bucket import Bucket
from backchannel.protocol.identifier import OPERATOR
from backchannel.service.rights import Rights
from cli.directory import BUCKET
from cli.door import Where, operator, where_options
from cli.failure import Failure
from cli.group import Command
from cli.on_record import entered
from cli.option import Duration, Name
from cli.terminal import Terminal

_reason = click.option("--reason", default="", help="Why; it is kept with the rights and in the audit trail.")


@click.command(cls=Command)
@click.argument("entity", type=Name(), required=False)
@where_options
@click.option("--jti", help="Revoke the one token with this id, whoever bears it.")
@_reason
@click.pass_obj
def revoke(terminal: Terminal, where: Where, entity: str | None, jti: str | None, reason: str) -> None:
    """Believe no token that was issued to ENTITY until now; live connections are closed."""
    if (entity is None) == (jti is None):
        raise click.UsageError("Name an ENTITY, or one token by --jti.")
    if entity is not None:
        told = asyncio.run(_revoke_all(where, entity, reason))
        terminal.say(f"Every token issued to {entity} until now is revoked; new ones are believed.")
    else:
        assert jti is not None
        told = asyncio.run(_revoke_one(where, jti, reason))
        terminal.say("The token is revoked.")
    if terminal.json:
        terminal.put(told)


@click.command(cls=Command)
@click.argument("agent", type=Name())
@where_options
@click.option(
    "--for", "away", type=Duration(), default="5m", show_default=True, help="How long it may not come back."
)
@_reason
@click.pass_obj
def kick(terminal: Terminal, where: Where, agent: str, away: int, reason: str) -> None:
    """Close every connection of AGENT, and let it in again only after a while."""
    asyncio.run(_known(where, agent))
    changes = {"barred_until": time.time() + away}
    told = asyncio.run(_change(where, agent, "kicked", reason, changes))
    terminal.say(f"{agent} is sent away for {away} s; its tokens are believed again after that.")
    if terminal.json:
        terminal.put(told)


async def _revoke_all(where: Where, entity: str, reason: str) -> list[dict[str, Any]]:
    # Times in tokens are whole seconds: those of the second that has begun are revoked with it.
    before = int(time.time()) + 1
    told = await _change(where, entity, "tokens_revoked", reason, {"revoked_before": before})
    await asyncio.sleep(max(0.0, before - time.time()))  # so that a token made after this command is believed
    return told


async def _known(where: Where, agent: str) -> None:
    """Raises NotFound when no group has such an agent: a slip of the pen would send nobody away."""
    async with operator(where) as connection:
        bucket = Bucket(connection, BUCKET)
        for group in where.groups():
            if await bucket.get(f"{group}.{agent}") is not None:
                return
    raise Failure(f"Nobody here is called {agent}.", code="not_found", hint="backchannel agents ls")


async def _change(
    where: Where, entity: str, action: str, reason: str, changes: dict[str, Any]
) -> list[dict[str, Any]]:
    found = []
    async with operator(where) as connection:
        for group in where.groups():
            await _record(where, group, entity, action, {"reason": reason, **changes})
            inforce = await Rights(connection).put(group, entity, by=OPERATOR, reason=reason, **changes)
            found.append({"group": group, "entity": entity, **inforce.model_dump(mode="json")})
    return found


async def _revoke_one(where: Where, jti: str, reason: str) -> list[dict[str, Any]]:
    found = []
    async with operator(where) as connection:
        for group in where.groups():
            await _record(where, group, "unknown", "token_revoked", {"reason": reason, "token_id": jti})
            await Rights(connection).revoke_token(group, jti, by=OPERATOR, reason=reason)
            found.append({"group": group, "jti": jti})
    return found


async def _record(where: Where, group: str, entity: str, action: str, facts: dict[str, Any]) -> None:
    """In the trail before it is done. Raises Unavailable."""
    if not await entered(where.settings, group, "security", entity, action, facts):
        raise Failure(
            "No platform runs that could take it.", code="unavailable", hint="start it with `backchannel up`"
        )
