"""`backchannel sidebars spawn|post|pause|resume|merge|archive|fork`: what an operator may do with them."""

from __future__ import annotations

import asyncio
import json
from typing import IO, Any

import click

from backchannel.protocol import sidebar as words
from backchannel.protocol.message import Message
from backchannel.protocol.sidebar_status import SidebarPriority
from cli.command import command, post
from cli.door import Where, where_options
from cli.group import Command
from cli.option import Name, Names
from cli.terminal import Terminal, clean, shown

PRIORITIES = [priority.value for priority in SidebarPriority]
_reason = click.option("--reason", required=True, help="Why; it is kept in the history.")
_sidebar_id = click.argument("sidebar_id", type=Name())


@click.command(cls=Command)
@where_options
@click.argument("task")
@click.option("--with", "agents", type=Names(), default=(), help="Agents to bring in, divided by commas.")
@click.option(
    "--specialty",
    "specialties",
    type=Name(),
    multiple=True,
    help="Have an agent found who has it. Repeatable.",
)
@click.option("--parent", type=Name(), default="main", show_default=True, help="The context it comes from.")
@click.option("--priority", type=click.Choice(PRIORITIES), help="[default: the parent's, or normal]")
@click.option("--criteria", help="When it is a success.")
@click.option("--coordinator", type=Name(), help="The agent who coordinates it.")
@click.option("--id", "sidebar_id", type=Name(), help="Its id.  [default: made up]")
@click.pass_obj
def spawn(
    terminal: Terminal,
    where: Where,
    task: str,
    agents: tuple[str, ...],
    specialties: tuple[str, ...],
    parent: str,
    priority: str | None,
    criteria: str | None,
    coordinator: str | None,
    sidebar_id: str | None,
) -> None:
    """Open a sidebar for TASK and print its id."""
    if not (agents or specialties or coordinator):
        raise click.UsageError("Say who shall be in it: --with, --specialty or --coordinator.")
    told = _ask(
        where,
        words.SidebarSpawn,
        task_description=task,
        participants=list(agents),
        specialties=list(specialties),
        parent_id=parent,
        priority=priority,
        success_criteria=criteria,
        coordinator=coordinator,
        sidebar_id=sidebar_id,
    )
    _tell_new(terminal, told)


@click.command("post", cls=Command)
@where_options
@_sidebar_id
@click.argument("text")
@click.pass_obj
def post_message(terminal: Terminal, where: Where, sidebar_id: str, text: str) -> None:
    """Say TEXT in a sidebar, as operator, and print where it was stored."""
    told = asyncio.run(post(where, sidebar_id, text))
    if terminal.json:
        terminal.put(told)
    else:
        terminal.line(told["cursor"])


@click.command(cls=Command)
@where_options
@_sidebar_id
@_reason
@click.option("--until", "condition", help="What must happen before it goes on, in words.")
@click.pass_obj
def pause(terminal: Terminal, where: Where, sidebar_id: str, reason: str, condition: str | None) -> None:
    """Stop a sidebar for now."""
    _tell(
        terminal,
        _ask(where, words.SidebarPause, sidebar_id=sidebar_id, reason=reason, resume_condition=condition),
    )


@click.command(cls=Command)
@where_options
@_sidebar_id
@_reason
@click.pass_obj
def resume(terminal: Terminal, where: Where, sidebar_id: str, reason: str) -> None:
    """Let a paused or waiting sidebar carry on."""
    _tell(terminal, _ask(where, words.SidebarResume, sidebar_id=sidebar_id, reason=reason))


@click.command(cls=Command)
@where_options
@_sidebar_id
@click.option(
    "--findings",
    type=click.File("r", encoding="utf-8"),
    help="File with what was found; one called *.json is taken as JSON, and - is standard input.",
)
@click.option("--text", help="What was found.")
@click.option("--failed", is_flag=True, help="It did not reach its goal.")
@click.option(
    "--open-children",
    type=click.Choice(["refuse", "merge", "archive"]),
    default="refuse",
    show_default=True,
    help="What becomes of sidebars below it that are still open.",
)
@click.pass_obj
def merge(
    terminal: Terminal,
    where: Where,
    sidebar_id: str,
    findings: IO[str] | None,
    text: str | None,
    failed: bool,
    open_children: str,
) -> None:
    """Bring the findings into the parent's context, and end the sidebar."""
    if (findings is None) == (text is None):
        raise click.UsageError("Give the findings: either --findings FILE or --text TEXT.")
    told = _ask(
        where,
        words.SidebarMerge,
        sidebar_id=sidebar_id,
        consolidated_findings=text if findings is None else _read(findings),
        success=not failed,
        open_children=open_children,
    )
    _tell(terminal, told)


@click.command(cls=Command)
@where_options
@_sidebar_id
@_reason
@click.pass_obj
def archive(terminal: Terminal, where: Where, sidebar_id: str, reason: str) -> None:
    """Put a sidebar away; it stays readable and can be forked."""
    _tell(terminal, _ask(where, words.SidebarArchive, sidebar_id=sidebar_id, archive_reason=reason))


@click.command(cls=Command)
@where_options
@_sidebar_id
@_reason
@click.option("--with", "agents", type=Names(), help="Who shall be in it.  [default: those of the original]")
@click.option("--id", "new_id", type=Name(), help="Its id.  [default: made up]")
@click.pass_obj
def fork(
    terminal: Terminal,
    where: Where,
    sidebar_id: str,
    reason: str,
    agents: tuple[str, ...] | None,
    new_id: str | None,
) -> None:
    """Give a sidebar, also an ended one, a second life with its whole context; print its id."""
    told = _ask(
        where,
        words.SidebarFork,
        original_sidebar_id=sidebar_id,
        fork_reason=reason,
        participants=list(agents) if agents else None,
        new_sidebar_id=new_id,
    )
    _tell_new(terminal, told)


def _ask(where: Where, kind: type[Message], **fields: Any) -> dict[str, Any]:
    return asyncio.run(command(where, kind, **fields))


def _read(file: IO[str]) -> Any:
    """
    Raises:
        UsageError: it is not the JSON its name says, or no text.
    """
    try:
        text = file.read()
        return json.loads(text) if file.name.endswith(".json") else text
    except (ValueError, RecursionError) as problem:
        raise click.UsageError(f"The findings in {file.name} cannot be read: {problem}.") from problem


def _tell(terminal: Terminal, told: dict[str, Any]) -> None:
    if terminal.json:
        terminal.put(told)
        return
    before = " already" if told.get("already") else ""
    terminal.line(f"{clean(str(told['sidebar_id']))} is {clean(str(told['sidebar_status']))}{before}")


def _tell_new(terminal: Terminal, told: dict[str, Any]) -> None:
    """The id alone on stdout, for scripts; who is in it and why on stderr."""
    if terminal.json:
        terminal.put(told)
        return
    terminal.line(clean(str(told["sidebar_id"])))
    terminal.say(f"participants: {shown(told.get('participants'))}")
    for found in told.get("matched") or ():
        terminal.say(f"{clean(str(found['specialty']))}: {clean(str(found['reason']))}")
