"""`backchannel token`: say who somebody is, in a form that the platform believes."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from typing import IO, Any

import click
from click.core import ParameterSource

from backchannel.delivery.token import draft, sign
from backchannel.errors import BackchannelError
from backchannel.home import Home, Settings
from backchannel.protocol.claims import Claims
from cli.directory import register
from cli.group import Group, Noun
from cli.on_record import entered, token_facts
from cli.option import Duration, Name, data_option
from cli.terminal import Terminal

LEVELS = ("autonomous", "low", "medium", "high", "locked")


VERBS = {
    "inspect": Noun("cli.token_keys:inspect", "Say what TOKEN claims and whether it is believed now."),
    "revoke": Noun("cli.revoke:revoke", "Believe no token that was issued to ENTITY until now."),
    "rotate-key": Noun("cli.token_keys:rotate_key", "Sign tokens with a new key from now on."),
}
"""What is loaded when it is called: who only issues tokens does not wait for it."""


@click.group(cls=Group, nouns=VERBS)
def token() -> None:
    """Issue tokens, look into them, and take them back."""


@token.command()
@click.argument("entity", type=Name())
@data_option
@click.option(
    "--type", "entity_type", type=click.Choice(["agent", "human", "service"]), help="[default: agent]"
)
@click.option(
    "--group", type=Name(), envvar="BACKCHANNEL_GROUP", help="Group it belongs to.  [default: main]"
)
@click.option("--ttl", type=Duration(), default="1h", show_default=True, help="How long it is valid.")
@click.option("--specialties", metavar="A,B", help="What you vouch for that it can do: it is found by that.")
@click.option("--level", type=click.Choice(LEVELS), help="Supervision level.  [default: medium]")
@click.option(
    "--claims", "file", type=click.File("r", encoding="utf-8"), help="JSON object over the defaults."
)
@click.pass_obj
def create(
    terminal: Terminal,
    entity: str,
    data: str | None,
    entity_type: str | None,
    group: str | None,
    ttl: int,
    specialties: str | None,
    level: str | None,
    file: IO[str] | None,
) -> None:
    """Print a token for ENTITY, alone on stdout, and make ENTITY known to the platform."""
    asked = {
        "entity_type": entity_type,
        "collaboration_group": group,
        "supervision_level": level,
        "specialties": None if specialties is None else [each.strip() for each in specialties.split(",")],
    }
    fields = _claims_file(file) | {name: value for name, value in asked.items() if value is not None}
    claims = draft(entity, now=int(time.time()), lifetime=ttl, jti=secrets.token_hex(16), fields=fields)
    settings = Home.from_environment(os.environ, data)
    text = sign(claims, settings.token_key())
    asyncio.run(_on_record(terminal, settings, claims))
    try:
        asyncio.run(register(settings, claims))
    except BackchannelError as problem:
        terminal.say(f"note: {entity} becomes known at its first connection only. {problem.message}")
    if terminal.json:
        terminal.put({"token": text, "claims": claims.model_dump(mode="json", exclude_none=True)})
    else:
        terminal.line(text)
    _warn(claims, settings, terminal)
    _tell_of_settings(terminal)


async def _on_record(terminal: Terminal, settings: Settings, claims: Claims) -> None:
    """No token comes into the world unseen, as long as there is somebody to see it."""
    group, entity = claims.collaboration_group, claims.sub
    known = await entered(settings, group, "identity", entity, "token_created", token_facts(claims))
    if not known and isinstance(settings, Home) and settings.serving():
        terminal.say("note: the audit trail cannot be reached, so this token is not on record.")


def _claims_file(file: IO[str] | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        content = json.load(file)
    except (ValueError, RecursionError) as problem:
        raise click.UsageError(f"The claims in {file.name} are not JSON: {problem}.") from problem
    if not isinstance(content, dict):
        raise click.UsageError(f"The claims in {file.name} are not a JSON object.")
    return content


def _tell_of_settings(terminal: Terminal) -> None:
    """What nobody wrote on the command line, and may have come with a stranger's project."""
    source = click.get_current_context().get_parameter_source
    for name, option in (("level", "--level"), ("file", "--claims"), ("entity_type", "--type")):
        if source(name) is ParameterSource.DEFAULT_MAP:
            terminal.say(f"note: {option} of this token comes from the settings file.")


def _warn(claims: Claims, settings: Settings, terminal: Terminal) -> None:
    """What is allowed, and probably not meant."""
    if claims.exp <= time.time():
        terminal.say(f"note: this token has expired already; its claims say exp {claims.exp}.")
    if isinstance(settings, Home) and settings.serving():
        served = settings.runtime().groups
        if claims.collaboration_group not in served:
            terminal.say(f"note: the platform serves {', '.join(served)}, not {claims.collaboration_group}.")
