"""How a command fails: one sentence, one hint, one exit code, never a traceback by surprise."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import traceback
from typing import Final

import click

from backchannel.errors import BackchannelError
from cli.terminal import Terminal

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
REFUSED: Final = 4
UNREACHABLE: Final = 5
CONFLICT: Final = 6
CHECK_FAILED: Final = 7
TIMED_OUT: Final = 8
INTERRUPTED: Final = 130

_BY_CODE = {
    "bad_message": USAGE,
    "bad_frame": USAGE,
    "unknown_type": USAGE,
    "usage": USAGE,
    "not_found": NOT_FOUND,
    "unknown_agent": NOT_FOUND,
    "forbidden": REFUSED,
    "wrong_sender": REFUSED,
    "expired": REFUSED,
    "quarantined": REFUSED,
    "would_deadlock": REFUSED,
    "rate_limited": REFUSED,
    "too_large": REFUSED,
    "unavailable": UNREACHABLE,
    "conflict": CONFLICT,
    "illegal_transition": CONFLICT,
    "check_failed": CHECK_FAILED,
    "timed_out": TIMED_OUT,
    "interrupted": INTERRUPTED,
}


class Failure(Exception):
    """A command failed in a way that it can explain. `code` is the protocol's, or one of the list above."""

    def __init__(self, message: str, *, code: str = "failed", hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint


def exit_code(code: str) -> int:
    return _BY_CODE.get(code, FAILED)


def report(problem: Exception, terminal: Terminal) -> int:
    """Tell on stderr what went wrong; the exit code."""
    told = _explain(problem, terminal)
    if told.code != "interrupted":
        _tell(told, terminal)
    return exit_code(told.code)


def _explain(problem: Exception, terminal: Terminal) -> Failure:
    match problem:
        case Failure():
            return problem
        case BackchannelError():
            return Failure(problem.message, code=problem.code, hint=_HINTS.get(problem.code))
        case click.exceptions.NoArgsIsHelpError(ctx=click.Context(command=click.Group() as group) as context):
            known = ", ".join(group.list_commands(context))
            path = context.command_path
            return Failure(f"{path} needs a command: {known}.", code="usage", hint=f"{path} --help")
        case click.UsageError():
            path = problem.ctx.command_path if problem.ctx else "backchannel"
            return Failure(_sentence(problem.format_message()), code="usage", hint=f"{path} --help")
        case click.Abort():
            return Failure("Interrupted.", code="interrupted")
        case click.ClickException():
            return Failure(_sentence(problem.format_message()))
        case OSError(errno=errno.ENOSPC):
            return Failure("There is no space left for what this writes.", hint="make room and try again")
    return _unexpected(problem, terminal)


_HINTS = {"unavailable": "backchannel doctor"}


def _unexpected(problem: Exception, terminal: Terminal) -> Failure:
    from backchannel.logs import hide  # what it needs takes long to load, and this is rare

    trace = hide("".join(traceback.format_exception(problem)))
    told = f"Something unexpected happened ({type(problem).__name__}: {hide(str(problem))})."
    if terminal.verbose:
        click.echo(trace, err=True)
        return Failure(told, code="internal")
    fd, path = tempfile.mkstemp(prefix="backchannel-", suffix=".log")
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(trace)
    return Failure(told, code="internal", hint=f"where it happened is written in {path}")


def _tell(told: Failure, terminal: Terminal) -> None:
    if terminal.json:
        error = {"code": told.code, "message": told.message, "hint": told.hint}
        click.echo(json.dumps({"error": error}, ensure_ascii=False), err=True)
        return
    click.echo(f"{terminal.paint('error:', 'red', err=True)} {told.message}", err=True)
    if told.hint:
        click.echo(f"{terminal.paint('hint:', 'cyan', err=True)} {told.hint}", err=True)


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", "?", "!")) else f"{text}."
