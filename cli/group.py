"""Commands and groups: loaded late, forgiving, with the same options everywhere."""

from __future__ import annotations

import difflib
import gc
import importlib
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import click

from cli.terminal import Terminal

WIDEST = 68
"""What fits into the list of commands beside their names."""


@dataclass(frozen=True, slots=True)
class Noun:
    """Where a command is found, as `module:attribute`, and its line in the list of commands."""

    place: str
    about: str

    def load(self) -> click.Command:
        module, _, name = self.place.partition(":")
        gc.disable()  # what loading makes stays: to look through it meanwhile only takes time
        try:
            found = getattr(importlib.import_module(module), name)
        finally:
            gc.enable()
        assert isinstance(found, click.Command)
        return found


def _shared_options() -> list[click.Parameter]:
    """What every command takes, before or after the sub-command. Their effect is on the Terminal alone."""

    def option(*names: str, about: str, apply: Callable[[Terminal], None]) -> click.Option:
        def seen(context: click.Context, _: click.Parameter, value: bool) -> None:
            if value:
                apply(context.ensure_object(Terminal))

        return click.Option(names, is_flag=True, expose_value=False, callback=seen, help=about)

    return [
        option("--json", about="One JSON document on stdout.", apply=Terminal.speak_json),
        option("-q", "--quiet", about="No messages beside the result and errors.", apply=Terminal.be_quiet),
        option(
            "-v", "--verbose", about="Show where an unexpected error happened.", apply=Terminal.be_verbose
        ),
        option("--no-color", about="No colours (also: NO_COLOR).", apply=Terminal.be_plain),
    ]


class _Shared(click.Command):
    """What commands and groups have alike: the shared options, and settings inherited from above."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*args, **kwargs)
        self.params.extend(_shared_options())

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if parent is not None and info_name is not None:
            extra.setdefault("default_map", _inherited(parent.default_map, info_name))
        return super().make_context(info_name, args, parent, **extra)


class Command(_Shared):
    """A command of this command line."""


class Group(_Shared, click.Group):
    """A group of commands. They may be nouns, loaded when one of them is called."""

    command_class = Command

    def __init__(self, *args: Any, nouns: Mapping[str, Noun] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._nouns = dict(nouns or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._nouns, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        noun = self._nouns.get(cmd_name)
        return noun.load() if noun else super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if not self._nouns:
            super().format_commands(ctx, formatter)
            return
        with formatter.section("Commands"):
            late = [(name, noun.about) for name, noun in self._nouns.items()]
            here = [(name, command.get_short_help_str(WIDEST)) for name, command in self.commands.items()]
            formatter.write_dl(sorted(late + here) if here else late)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            raise click.UsageError(self._unknown(ctx, name), ctx)
        return super().resolve_command(ctx, args)

    def _unknown(self, ctx: click.Context, name: str) -> str:
        near = difflib.get_close_matches(name, self.list_commands(ctx), n=1, cutoff=0.5)
        return f"There is no command {name!r}." + (f" Did you mean {near[0]!r}?" if near else "")


def _inherited(settings: MutableMapping[str, Any] | None, name: str) -> dict[str, Any]:
    """The settings of one command: what stands above its section, and its section over that."""
    above = {key: value for key, value in (settings or {}).items() if not isinstance(value, dict)}
    return above | ((settings or {}).get(name) or {})
