"""`backchannel up`: everything on one machine, in one command."""

from __future__ import annotations

import asyncio
import os
import resource

import click
from click.core import ParameterSource

from cli.certificate import checked
from cli.group import Command
from cli.option import Names, data_option, home_of
from cli.plan import Plan
from cli.serve import serve
from cli.server import servers
from cli.terminal import Terminal

PORT = click.IntRange(0, 65535)
MANY = click.IntRange(1, 64)
CLOSED = 0o077
"""What `up` and its children make is for this user alone, whatever mode they ask for."""


def _servers(_: click.Context, __: click.Parameter, urls: str | None) -> str | None:
    """Refuse before anything is made or started."""
    if urls:
        servers(urls)
    return urls


def _said(context: click.Context, parameter: click.Parameter, value: bool) -> bool:
    """Only a person can take something over: no settings file that came with it, and no environment."""
    source = context.get_parameter_source(parameter.name or "")
    return value and source is ParameterSource.COMMANDLINE


@click.command(cls=Command)
@data_option
@click.option(
    "--host", default="127.0.0.1", envvar="BACKCHANNEL_HOST", show_default=True, help="Listen here."
)
@click.option("--port", type=PORT, default=8002, envvar="BACKCHANNEL_PORT", show_default=True, help="0: any.")
@click.option(
    "--nats-port",
    type=PORT,
    default=4222,
    envvar="BACKCHANNEL_NATS_PORT",
    show_default=True,
    help="Port of the nats-server that is started. 0: any.",
)
@click.option(
    "--nats",
    envvar="BACKCHANNEL_NATS_URL",
    metavar="URL",
    callback=_servers,
    help="Use a NATS server that runs already. Its login may stand in the URL, or in BACKCHANNEL_NATS_USER "
    "and BACKCHANNEL_NATS_PASSWORD_FILE.",
)
@click.option("--groups", type=Names(), default="main", envvar="BACKCHANNEL_GROUPS", show_default=True)
@click.option("--bridges", type=MANY, default=1, envvar="BACKCHANNEL_BRIDGES", show_default=True)
@click.option("--handlers", type=MANY, default=1, envvar="BACKCHANNEL_HANDLERS", show_default=True)
@click.option(
    "--durability",
    type=click.Choice(["normal", "strict"]),
    default="normal",
    envvar="BACKCHANNEL_DURABILITY",
    show_default=True,
    help="normal: what is stored is on disk within a second; strict: before it is acknowledged.",
)
@click.option(
    "--tls-cert", envvar="BACKCHANNEL_TLS_CERT", metavar="FILE", help="Speak TLS with this certificate (PEM)."
)
@click.option("--tls-key", envvar="BACKCHANNEL_TLS_KEY", metavar="FILE", help="Its key (PEM, mode 0600).")
@click.option(
    "--adopt",
    is_flag=True,
    callback=_said,
    help="Take over a data folder that was made elsewhere, with its keys.",
)
@click.pass_obj
def up(
    terminal: Terminal,
    data: str | None,
    host: str,
    port: int,
    nats_port: int,
    nats: str | None,
    groups: tuple[str, ...],
    bridges: int,
    handlers: int,
    durability: str,
    tls_cert: str | None,
    tls_key: str | None,
    adopt: bool,
) -> None:
    """Start everything on this machine.

    That is a nats-server, bridges and handlers; what dies is started again.

    When it serves, it prints a line `ready ws://HOST:PORT/ws http://HOST:PORT nats://HOST:PORT` on stdout;
    with TLS it names wss, https and tls.
    Ctrl-C stops it in order; a second Ctrl-C at once.
    """
    os.umask(CLOSED)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump, also of a child, would hold the keys
    home = home_of(data)
    certificate = checked(tls_cert, tls_key)
    plan = Plan(host, port, nats_port, nats, groups, bridges, handlers, durability, certificate)
    if adopt:
        home.adopt()
    lock = home.lock()
    try:
        asyncio.run(serve(home, plan, lock.fd, terminal, os.environ))
    finally:
        lock.release()
