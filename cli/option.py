"""Options and kinds of values that several commands take."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from backchannel.home import DEFAULT_FOLDER, Home

_Command = TypeVar("_Command", bound=Callable[..., Any])
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(?:\d+[smhdw])+|\d+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class Duration(click.ParamType[int]):
    """`90s`, `30m`, `1h`, `1h30m`, `7d`, or plain seconds; at most ten years. As seconds."""

    name = "duration"
    longest = 10 * 366 * 86_400

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).strip()
        if not _DURATION.fullmatch(text):
            self.fail(f"{text!r} is not a duration. Write 90s, 30m, 1h, 1h30m or 7d.", param, ctx)
        parts = re.findall(r"(\d+)([smhdw]?)", text)
        seconds = sum(int(number) * _UNITS[unit or "s"] for number, unit in parts)
        if not 0 < seconds <= self.longest:
            self.fail(f"{text!r} is not between one second and ten years.", param, ctx)
        return seconds


class Name(click.ParamType[str]):
    """An identifier: what may be one token of a NATS subject."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not _NAME.fullmatch(str(value)):
            self.fail(
                f"{str(value)[:80]!r} is not a name. Use letters, digits, '_' and '-', "
                "starting with a letter or digit, at most 64 characters.",
                param,
                ctx,
            )
        return str(value)


class Names(click.ParamType[tuple[str, ...]]):
    """Names divided by commas, each once, at least one."""

    name = "name,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        parts = value if isinstance(value, (list, tuple)) else str(value).split(",")
        return tuple(dict.fromkeys(Name().convert(str(part).strip(), param, ctx) for part in parts))


class SubjectFilter(click.ParamType[str]):
    """A NATS subject, possibly with wildcards."""

    name = "subject"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        *before, last = str(value).split(".")
        fits = all(part and part != ">" for part in before) and last
        if not fits or not str(value).isprintable() or " " in str(value):
            self.fail(f"{str(value)[:80]!r} is not a subject, as bc.main.evt.ctx.*.*.life is.", param, ctx)
        return str(value)


def data_option(command: _Command) -> _Command:
    """`--data DIR`, as `data: str | None`; None when nobody said where."""
    return click.option(
        "--data",
        type=click.Path(file_okay=True),
        envvar="BACKCHANNEL_DATA",
        metavar="DIR",
        help=f"Data folder of the platform.  [default: {DEFAULT_FOLDER}]",
    )(command)


def home_of(data: str | None) -> Home:
    return Home(data or os.environ.get("BACKCHANNEL_DATA") or DEFAULT_FOLDER)
