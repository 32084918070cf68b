"""The command `backchannel`: which nouns there are, and how every command ends."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from cli.failure import DONE, report
from cli.group import Group, Noun
from cli.terminal import Terminal

NOUNS = {
    "up": Noun("cli.up:up", "Start everything on this machine."),
    "status": Noun("cli.status:status", "Show how the platform is, on one screen."),
    "token": Noun("cli.token:token", "Issue tokens, look into them, and take them back."),
    "agents": Noun("cli.agent:agents", "Show who is known and who is here, and send somebody away."),
    "sidebars": Noun("cli.sidebar:sidebars", "Follow sidebars, and steer them."),
    "approvals": Noun("cli.approval:approvals", "See what waits for a human, and answer it."),
    "policy": Noun("cli.policy:policy", "Explain what supervision decides, and why."),
    "trust": Noun("cli.trust:trust", "Show how far agents are trusted with tools, and settle it."),
    "config": Noun("cli.config:config", "Read and change settings while the platform runs."),
    "quarantine": Noun("cli.quarantine:quarantine", "Look at what was parked as a loop, and let it go."),
    "streams": Noun("cli.stream:streams", "Look into the event logs."),
    "audit": Noun("cli.audit:audit", "Read the audit trail, and check it."),
    "dead": Noun("cli.dead:dead", "See what could not be handled, and redeliver it."),
    "explain": Noun("cli.explain:explain", "Say why a message arrived, or did not."),
    "doctor": Noun("cli.doctor:doctor", "Find out what is wrong with this installation."),
    "healthcheck": Noun("cli.healthcheck:healthcheck", "Answer by exit code alone, for containers."),
}


@click.group(cls=Group, nouns=NOUNS)
@click.option(
    "--config",
    type=click.Path(dir_okay=False),
    envvar="BACKCHANNEL_CONFIG",
    help="Settings file (default: backchannel.toml in this folder, if there is one).",
)
@click.version_option(package_name="backchannel", message="backchannel %(version)s")
@click.pass_context
def root(context: click.Context, config: str | None) -> None:
    """Messaging for AI agents and the people who work with them.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 refused, 5 platform unreachable,
    6 conflict, 7 a check found something wrong, 8 timed out.
    """
    path = config or ("backchannel.toml" if os.path.lexists("backchannel.toml") else None)
    if path:
        from cli.settings import load

        context.default_map = load(path, NOUNS, found=config is None)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit code. Errors are told on stderr, in the form the caller asked for."""
    terminal = Terminal.of(arguments)
    try:
        code = root.main(list(arguments), prog_name="backchannel", standalone_mode=False, obj=terminal)
    except Exception as problem:
        return report(problem, terminal)
    return code if isinstance(code, int) else DONE


def main() -> NoReturn:
    if (
        "up" in sys.argv[1:]
    ):  # what asks it to stop waits until it is loaded and listens: it ends in order, too
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    if sys.stdout is None:  # closed by the caller, who wants to know of success alone
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows fewer letters still gets the rest
    sys.exit(run(sys.argv[1:]))
