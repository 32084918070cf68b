"""How a command reaches the platform: over NATS as operator, or over the bridge with a token."""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from backchannel.errors import BY_CODE, Internal, NotFound
from backchannel.home import Home, Platform, Role, Settings
from backchannel.jetstream.connection import Connection
from backchannel.protocol.subject import service_subject
from cli.failure import Failure
from cli.health import ws_of
from cli.option import Duration, Name, data_option
from cli.reach import hush, reach, running

CALLER = "operator"
_Command = TypeVar("_Command", bound=Callable[..., Any])
Ask = Callable[[str, Mapping[str, Any]], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Where:
    """Which platform a command is for, and how long it may wait for an answer (seconds)."""

    data: str | None
    url: str | None
    token_file: str | None
    group: str | None
    timeout: float

    @property
    def settings(self) -> Settings:
        return Home.from_environment(os.environ, self.data)

    def platform(self) -> Platform:
        """The platform of the data folder. Raises NotRunning."""
        settings = self.settings
        if not isinstance(settings, Home):
            raise Failure("This needs the data folder of a platform.", code="usage", hint="give --data DIR")
        return running(settings)

    def groups(self) -> tuple[str, ...]:
        """The group asked for; without one, all that the platform serves."""
        if self.group:
            return (self.group,)
        return self.platform().groups if isinstance(self.settings, Home) else self.settings.runtime().groups

    def served(self) -> tuple[str, ...]:
        """As `groups`, for what handlers have to answer. Raises NotFound for a group without any."""
        if self.group and isinstance(self.settings, Home):
            known = self.platform().groups
            if self.group not in known:
                raise NotFound(f"No group {self.group} is served here; there are {', '.join(known)}.")
        return self.groups()


def where_options(command: _Command) -> _Command:
    """`--data`, `--url`, `--token-file`, `--group` and `--timeout`, handed over as `where: Where`."""

    @functools.wraps(command)
    def gathered(*args: Any, **given: Any) -> Any:
        names = ("data", "url", "token_file", "group", "timeout")
        return command(*args, where=Where(**{name: given.pop(name) for name in names}), **given)

    options = (
        data_option,
        click.option("--url", envvar="BACKCHANNEL_URL", help="Address of a bridge; needs a token."),
        click.option(
            "--token-file",
            type=click.Path(),
            envvar="BACKCHANNEL_TOKEN_FILE",
            help="File with the token for --url (or BACKCHANNEL_TOKEN).",
        ),
        click.option("--group", type=Name(), envvar="BACKCHANNEL_GROUP", help="Only this group."),
        click.option("--timeout", type=Duration(), default="10s", show_default=True, help="Wait so long."),
    )
    for option in reversed(options):
        gathered = option(gathered)
    return gathered  # type: ignore[return-value]


class Door:
    """Asks the platform's queries, whatever carries them."""

    def __init__(self, ask: Ask, group: str) -> None:
        self._ask = ask
        self.group = group

    async def ask(self, query: str, **params: Any) -> dict[str, Any]:
        """The fields of the answer. Raises the error that the platform answered, or Unavailable."""
        return await self._ask(query, {name: value for name, value in params.items() if value is not None})

    async def every(self, query: str, noun: str, **params: Any) -> list[dict[str, Any]]:
        """All rows of a list, however many answers they take, each with its group. Raises as `ask`."""
        found: list[dict[str, Any]] = []
        page = None
        while True:
            answer = await self.ask(query, page=page, **params)
            found += [{"group": self.group, **row} for row in answer[noun]]
            page = answer.get("next")
            if page is None:
                return found


@contextlib.asynccontextmanager
async def operator(where: Where, role: Role = "operator") -> AsyncIterator[Connection]:
    """A connection to the platform's NATS server with an operator's rights, or those of another role."""
    if where.url:
        raise Failure(
            "This is for operators, who reach the platform over NATS and not over --url.",
            code="usage",
            hint="give --data DIR of the platform instead",
        )
    connection = await reach(where.settings, wait=min(where.timeout, 5.0), role=role)
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def doors(where: Where) -> AsyncIterator[list[Door]]:
    """A door to each group that the command is about; over a bridge, to the group of the token."""
    if where.url:
        yield [Door(_over_bridge(where.url, read_token(where), where.timeout), where.group or "main")]
        return
    async with operator(where) as connection:
        yield [Door(over_nats(connection, group, where.timeout), group) for group in where.served()]


@contextlib.asynccontextmanager
async def door(where: Where) -> AsyncIterator[Door]:
    """The door to one group: the one asked for, else the first."""
    async with doors(where) as found:
        yield found[0]


def over_nats(connection: Connection, group: str, timeout: float) -> Ask:
    """Ask the handlers of a group as operator."""

    async def ask(query: str, params: Mapping[str, Any]) -> dict[str, Any]:
        reply = await connection.request(
            service_subject(group, "query", query),
            json.dumps(params).encode(),
            headers={"Bc-Caller": CALLER, "Bc-Role": "operator"},
            timeout=timeout,
        )
        answer: dict[str, Any] = json.loads(reply.payload)
        if answer.pop("status", None) == "success":
            return answer
        kind = BY_CODE.get(str(answer.get("code")), Internal)
        raise kind(str(answer.get("message") or "The platform refused and did not say why."))

    return ask


def _over_bridge(url: str, token: str, timeout: float) -> Ask:
    from backchannel.client.ask import ask_once  # the SDK takes long to load, and few commands need it

    hush()
    return lambda query, params: ask_once(ws_of(url), token, query, params, timeout=timeout)


def read_token(where: Where) -> str:
    """The bearer's token, from --token-file or BACKCHANNEL_TOKEN. Never taken from the command line."""
    if where.token_file:
        try:
            return Path(where.token_file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as problem:
            raise Failure(
                f"The token file {where.token_file} cannot be read: {problem}.", code="usage"
            ) from None
    if token := os.environ.get("BACKCHANNEL_TOKEN", "").strip():
        return token
    raise Failure(
        "--url needs a token.",
        code="usage",
        hint="make one with `backchannel token create`, then give --token-file or set BACKCHANNEL_TOKEN",
    )
