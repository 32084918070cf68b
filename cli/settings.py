"""Settings from backchannel.toml, checked before anything believes them."""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import click

from cli.failure import Failure
from cli.group import Noun
from cli.listen import is_loopback

EVERYWHERE = ("data", "url", "token_file", "group")
"""Settings that may stand above all sections; each command takes those it knows."""


ADDRESSES = ("url", "nats")
"""Where a token or a password is sent."""
LARGEST = 1 << 20
"""Bytes of a settings file."""


def load(path: str, nouns: Mapping[str, Noun], *, found: bool = False) -> dict[str, Any]:
    """The file as click wants it: options by name, sections by command. A typo is wrong usage.

    Args:
        found: nobody named the file: it lay in the current folder, which may be a stranger's.
    """
    try:
        content = tomllib.loads(_text(path, found))
    except (OSError, ValueError) as problem:
        raise click.UsageError(f"The settings file {path} cannot be read: {problem}.") from problem
    settings = _underscored(content)
    if found:
        _require_near(path, settings)
    for name, value in settings.items():
        if isinstance(value, dict):
            _check_section(path, name, value, nouns)
        elif name not in EVERYWHERE:
            raise _unknown(path, name, (*EVERYWHERE, *nouns))
    return settings


def _text(path: str, found: bool) -> str:
    """What is read is what was looked at. Raises OSError, ValueError, Failure."""
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), encoding="utf-8") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > LARGEST:
            raise ValueError(f"it is no file of at most {LARGEST} bytes")
        if found and (why := _foreign(facts)):
            raise Failure(
                f"The settings file {path} in this folder {why}.",
                code="forbidden",
                hint=f"if you trust it, say so: backchannel --config {path} …",
            )
        return file.read()


def _foreign(facts: os.stat_result) -> str | None:
    """Why others may have written it. A group of the same number as its one user is no others."""
    if facts.st_uid not in (0, os.geteuid()):
        return "belongs to another user"
    if facts.st_mode & stat.S_IWOTH or (facts.st_mode & stat.S_IWGRP and facts.st_gid != facts.st_uid):
        return "can be changed by others"
    return None


def _require_near(path: str, settings: Mapping[str, Any]) -> None:
    """What came with a stranger's project must not send a token or a password to the stranger."""
    for name, value in settings.items():
        if isinstance(value, dict):
            _require_near(path, value)
        elif name in ADDRESSES and not _is_near(str(value)):
            raise Failure(
                f"The settings file {path} in this folder sends your token or password to another machine "
                f"({name}).",
                code="forbidden",
                hint=f"if you trust it, say so: backchannel --config {path} …, or give --{name} yourself",
            )


def _is_near(addresses: str) -> bool:
    """Whether each of them is on this machine."""
    try:
        return all(
            is_loopback(urlsplit(one if "://" in one else f"ws://{one}").hostname or "")
            for one in (part.strip() for part in addresses.split(","))
        )
    except ValueError:
        return False


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
