"""`backchannel doctor`: find out what is wrong, and say what to do about it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import click

from cli.door import Where, where_options
from cli.failure import CHECK_FAILED
from cli.finding import Finding
from cli.group import Command
from cli.machine import check_machine
from cli.option import home_of
from cli.running import check_running
from cli.terminal import Terminal, clean

MARKS = {"good": ("✓", "green"), "bad": ("✗", "red"), "skipped": ("-", "yellow")}


@click.command(cls=Command)
@where_options
@click.pass_obj
def doctor(terminal: Terminal, where: Where) -> int | None:
    """Find out what is wrong with this installation. Works with and without a running platform.

    Exit code 7 when something is wrong.
    """
    home = home_of(where.data)
    found: list[Finding] = []
    for finding in check_machine(home):
        found.append(finding)
        _show(terminal, finding)
    for finding in asyncio.run(check_running(where, home)):
        found.append(finding)
        _show(terminal, finding)
    wrong = any(finding.outcome == "bad" for finding in found)
    if terminal.json:
        terminal.put({"healthy": not wrong, "checks": [asdict(finding) for finding in found]})
    return CHECK_FAILED if wrong else None


def _show(terminal: Terminal, finding: Finding) -> None:
    if terminal.json:
        return
    mark, color = MARKS[finding.outcome]
    terminal.line(f"{terminal.paint(mark, color)} {finding.check:<12} {clean(finding.detail)}")
    if finding.hint:
        terminal.line(f"  {'':<12} {terminal.paint('hint:', 'cyan')} {clean(finding.hint)}")
