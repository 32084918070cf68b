"""`backchannel token rotate-key|inspect`: the keys that sign tokens, and what a token is worth."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import UTC, datetime
from typing import Any

import click

from backchannel.delivery.keys import Keys
from backchannel.delivery.token import BadToken, verify
from backchannel.errors import BackchannelError, Expired
from backchannel.home import Home, Settings
from backchannel.protocol.claims import Claims
from backchannel.protocol.message import rfc3339
from backchannel.service.rights import Rights, RightsInForce
from cli.failure import CHECK_FAILED, DONE, Failure
from cli.group import Command
from cli.on_record import entered
from cli.option import Duration, data_option
from cli.reach import reach
from cli.terminal import Terminal, clean

PATIENCE = 2.0
SECRET = frozenset({"nonce"})


@click.command("rotate-key", cls=Command)
@data_option
@click.option(
    "--keep",
    type=Duration(),
    default="7d",
    show_default=True,
    help="How long tokens of the key before are still believed.",
)
@click.option("--retire-now", is_flag=True, help="Believe no token of any former key: one was stolen.")
@click.pass_obj
def rotate_key(terminal: Terminal, data: str | None, keep: int, retire_now: bool) -> None:
    """Sign tokens with a new key from now on. Running bridges and handlers notice by themselves."""
    settings = Home.from_environment(os.environ, data)
    if not isinstance(settings, Home):
        raise Failure(
            "The key is in a file that this deployment names, not in a data folder.",
            code="usage",
            hint="write the new one there, and the old one into BACKCHANNEL_FORMER_KEYS_FILE",
        )
    asyncio.run(_on_record(settings, 0 if retire_now else keep))
    keys = settings.retire_token_keys() if retire_now else settings.rotate_token_key(keep)
    if terminal.json:
        terminal.put(_told(keys))
        return
    terminal.line(keys.current.kid)
    for key in keys.former:
        terminal.say(f"{key.kid} is believed until {_moment(key.until or 0)}.")


@click.command(cls=Command)
@click.argument("token")
@data_option
@click.pass_obj
def inspect(terminal: Terminal, token: str, data: str | None) -> int:
    """Say what TOKEN claims and whether it is believed now; `-` reads it from standard input.

    A token on a command line is seen by everybody on the machine: prefer `-`. Exit code 7: not believed.
    """
    text = sys.stdin.read(65_536).strip() if token == "-" else token.strip()
    settings = Home.from_environment(os.environ, data)
    told = asyncio.run(_inspected(settings, text))
    if terminal.json:
        terminal.put(told)
    else:
        _show(terminal, told)
    return DONE if told["status"] == "valid" else CHECK_FAILED


async def _inspected(settings: Settings, text: str) -> dict[str, Any]:
    keys, now = settings.token_keys()(), time.time()
    try:
        claims = verify(text, keys, now)
    except Expired as problem:
        expired = verify(text, keys, 0, skew=float("inf"))
        return {"status": "expired", "why": problem.message, **_claimed(expired)}
    except BadToken as problem:
        return {"status": "refused", "why": problem.message, "claims": None}
    why, note = await _why_refused(settings, claims, now)
    if why is not None:
        return {"status": "revoked", "why": why, **_claimed(claims)}
    return {"status": "valid", "why": note, **_claimed(claims)}


async def _why_refused(settings: Settings, claims: Claims, now: float) -> tuple[str | None, str | None]:
    """Why the running platform refuses it; and what is to be said if it could not be asked."""
    try:
        connection = await reach(settings, wait=PATIENCE)
    except BackchannelError:
        return None, "No platform runs that could say whether it was revoked."
    try:
        group = claims.collaboration_group
        rights = Rights(connection)
        found = RightsInForce.of_one(
            group,
            claims.sub,
            await rights.get(group, claims.sub),
            token=(claims.jti, await rights.of_token(group, claims.jti)),
        )
        served = settings.runtime().groups
        if group not in served:
            return f"It is for the group {group}; the platform serves {', '.join(served)}.", None
        return found.why_refused(claims, now), None
    finally:
        await connection.close()


def _claimed(claims: Claims) -> dict[str, Any]:
    said = claims.model_dump(mode="json", exclude_none=True, exclude=set(SECRET))
    return {
        "key": claims.kid,
        "one_use": claims.nonce is not None,
        "issued": _moment(claims.iat),
        "expires": _moment(claims.exp),
        "claims": said,
    }


def _show(terminal: Terminal, told: dict[str, Any]) -> None:
    terminal.line(told["status"])
    if told["why"]:
        terminal.say(clean(told["why"]))
    if told["claims"]:
        rows = [{"claim": name, "value": value} for name, value in told["claims"].items()]
        terminal.table(("claim", "value"), rows, empty="It claims nothing.")


async def _on_record(settings: Home, kept: int) -> None:
    if settings.serving():
        facts = {"former_kept_seconds": kept}
        await entered(settings, settings.runtime().groups[0], "security", "platform", "key_rotated", facts)


def _told(keys: Keys) -> dict[str, Any]:
    former = [{"kid": key.kid, "until": _moment(key.until or 0)} for key in keys.former]
    return {"kid": keys.current.kid, "former": former}


def _moment(seconds: float) -> str:
    return rfc3339(datetime.fromtimestamp(min(seconds, 253_402_300_799), UTC))
