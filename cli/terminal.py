"""What a command shows: results on stdout, messages for people on stderr, JSON when asked."""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

Row = Mapping[str, Any]


@dataclass
class Terminal:
    """How the person or program at the other end wants to be answered."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    plain: bool = False

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Terminal:
        """Read ahead of the parser, so that even wrong usage is reported in the wanted form."""
        given = arguments[: arguments.index("--")] if "--" in arguments else arguments
        return cls(json="--json" in given, plain=bool(os.environ.get("NO_COLOR")))

    def speak_json(self) -> None:
        self.json = True

    def be_quiet(self) -> None:
        self.quiet = True

    def be_verbose(self) -> None:
        self.verbose = True

    def be_plain(self) -> None:
        self.plain = True

    def say(self, message: str = "") -> None:
        """A message for people, on stderr."""
        if not self.quiet:
            click.echo(message, err=True)

    def put(self, document: Any) -> None:
        """The one JSON document of a command, on stdout."""
        click.echo(json.dumps(document, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))

    def line(self, text: str) -> None:
        """A line of the result. Control characters from outside never reach the terminal."""
        click.echo(text)

    def paint(self, text: str, color: str, *, err: bool = False) -> str:
        stream = sys.stderr if err else sys.stdout
        return text if self.plain or not stream.isatty() else click.style(text, fg=color)

    def table(self, columns: Sequence[str], rows: Iterable[Row], *, empty: str) -> None:
        """Rows in aligned columns under a heading; cut at the right edge of a terminal, never in a pipe."""
        cells = [[shown(row.get(column)) for column in columns] for row in rows]
        if not cells:
            self.say(empty)
            return
        heading = [column.replace("_", " ").upper() for column in columns]
        widths = [max(map(width, column)) for column in zip(heading, *cells, strict=True)]
        for row in [heading, *cells]:
            text = "  ".join(pad(cell, size) for cell, size in zip(row, widths, strict=True))
            self.line(cut(text.rstrip(), self.width))

    def columns(self, values: Iterable[Any]) -> None:
        """One row of a table that has no end."""
        self.line(cut("  ".join(map(shown, values)), self.width))

    @property
    def width(self) -> int | None:
        """Columns of the terminal; None in a pipe."""
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def shown(value: Any) -> str:
    """One value in one line."""
    match value:
        case None | "" | [] | ():
            return "-"
        case True | False:
            return "yes" if value else "no"
        case list() | tuple():
            return clean(", ".join(map(str, value)))
    return clean(str(value))


def clean(text: str) -> str:
    """Text from outside in one line, with nothing in it that a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def width(text: str) -> int:
    """Columns that a terminal needs for `text`."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) != 0 for letter in text)


def pad(text: str, size: int) -> str:
    return text + " " * (size - width(text))


def cut(text: str, size: int | None) -> str:
    if size is None or width(text) <= size:
        return text
    while width(text) > size - 1:
        text = text[:-1]
    return f"{text}…"


def size(number: float) -> str:
    """Bytes, for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def age(moment: str | None, now: datetime) -> str:
    """How long ago a moment (RFC 3339) was, in its two largest units."""
    if not moment:
        return "-"
    try:
        seconds = max(0, int((now - datetime.fromisoformat(moment)).total_seconds()))
    except (ValueError, TypeError):
        return clean(moment)
    for unit, length, lesser, part in (("d", 86_400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if seconds >= length:
            return f"{seconds // length}{unit}{seconds % length // part}{lesser}"
    return f"{seconds}s"
