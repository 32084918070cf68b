"""Settings from backchannel.toml, checked before anything believes them."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from cli.group import Noun

EVERYWHERE = ("data", "url", "token_file", "group")
"""Settings that may stand above all sections; each command takes those it knows."""


def load(path: str, nouns: Mapping[str, Noun]) -> dict[str, Any]:
    """The file as click wants it: options by name, sections by command. A typo is wrong usage."""
    try:
        content = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as problem:
        raise click.UsageError(f"The settings file {path} cannot be read: {problem}.") from problem
    settings = _underscored(content)
    for name, value in settings.items():
        if isinstance(value, dict):
            _check_section(path, name, value, nouns)
        elif name not in EVERYWHERE:
            raise _unknown(path, name, (*EVERYWHERE, *nouns))
    return settings


def _check_section(path: str, name: str, section: dict[str, Any], nouns: Mapping[str, Noun]) -> None:
    if name not in nouns:
        raise _unknown(path, f"[{name}]", (f"[{noun}]" for noun in nouns))
    _check_keys(path, name, section, nouns[name].load())


def _check_keys(path: str, name: str, section: dict[str, Any], command: click.Command) -> None:
    options = {parameter.name for parameter in command.params if parameter.name}
    inner = command.commands if isinstance(command, click.Group) else {}
    for key, value in section.items():
        if key in inner and isinstance(value, dict):
            _check_keys(path, f"{name}.{key}", value, inner[key])
        elif key not in options and not (inner and key in EVERYWHERE):
            raise _unknown(path, key, (*options, *inner), f" in [{name}]")


def _unknown(path: str, name: str, known: Iterable[str], where: str = "") -> click.UsageError:
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return click.UsageError(f"{path} sets {name}{where}, which does not exist.{hint}")


def _underscored(table: dict[str, Any]) -> dict[str, Any]:
    return {
        key.replace("-", "_"): _underscored(value) if isinstance(value, dict) else value
        for key, value in table.items()
    }
