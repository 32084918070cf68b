"""`backchannel audit verify`: prove the chain, its seals and its copies, or name where they part."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import click

from backchannel.domain.audit.check import Genuine, Receipt
from backchannel.domain.audit.proof import Checkpoint, read_checkpoint
from backchannel.errors import BackchannelError
from backchannel.jetstream.connection import Connection
from backchannel.service.audit.locate import head
from backchannel.service.audit.signature import Signer, genuine
from backchannel.service.audit.standing import ask
from backchannel.service.audit.verify import Verdict, Verification
from backchannel.service.keeping import ANCHOR, seed_of
from cli.door import Where, operator, where_options
from cli.failure import CHECK_FAILED, Failure
from cli.group import Command
from cli.terminal import Terminal, clean

PUBLIC_KEY = re.compile(r"[0-9a-fA-F]{64}")
TELL_EACH = 20_000
CATCH_UP = 10.0
"""Seconds that copies may take to have what the primary had when the check began."""
POLL = 0.1


def _public_key(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not PUBLIC_KEY.fullmatch(value):
        raise click.BadParameter("a public key is 64 hexadecimal digits; a receipt names it as `signer`")
    return value and value.lower()


@click.command(cls=Command)
@where_options
@click.option("--offline", is_flag=True, help="Check the copies on this machine without asking the platform.")
@click.option(
    "--anchor",
    type=click.Path(exists=True, dir_okay=False),
    envvar=ANCHOR,
    help="File with checkpoints kept outside.",
)
@click.option(
    "--key",
    callback=_public_key,
    help="Public key of the checkpoints, in hexadecimal (default: that of the data folder).",
)
@click.pass_obj
def verify(
    terminal: Terminal, where: Where, offline: bool, anchor: str | None, key: str | None
) -> int | None:
    """Check that nothing in the audit trail was changed, taken out or put in.

    Checks hashes, order and signatures in every copy, and the copies against each other. Prints a receipt.
    Exit code 7 when something is wrong; then it names the first place where it is.
    """
    public = key or Signer(seed_of(where.settings.audit_key())).public
    anchors = _anchors(anchor, public)
    verdicts = asyncio.run(_verify(terminal, where, offline, partial(genuine, public=public), anchors))
    intact = all(verdict.intact for verdict in verdicts)
    if terminal.json:
        told = [verdict.shown() for verdict in verdicts]
        terminal.put({"intact": intact, "signer": public, "groups": told})
    else:
        for verdict in verdicts:
            _show(terminal, verdict)
    return None if intact else CHECK_FAILED


async def _verify(
    terminal: Terminal, where: Where, offline: bool, trusted: Genuine, anchors: dict[str, dict[int, str]]
) -> list[Verdict]:
    folder = where.settings.audit_folder()
    found = []
    async with _reached(where, offline) as connection:
        for group in where.groups() if connection else _groups(where, folder):
            if connection is not None:
                await _caught_up(terminal, connection, group)
            verification = Verification(connection, folder, group, trusted, anchors.get(group))
            found.append(await verification.run(_progress(terminal, group)))
    return found


@contextlib.asynccontextmanager
async def _reached(where: Where, offline: bool) -> AsyncIterator[Connection | None]:
    if offline:
        yield None
        return
    async with operator(where) as connection:
        yield connection


def _groups(where: Where, folder: Path | None) -> list[str]:
    """Without a platform: the groups that have copies here."""
    if where.group:
        return [where.group]
    rooms = folder / "segments" if folder else None
    return (
        sorted(room.name for room in rooms.iterdir() if room.is_dir())
        if rooms and rooms.exists()
        else ["main"]
    )


async def _caught_up(terminal: Terminal, connection: Connection, group: str) -> None:
    """Wait until the copies have what there is now. Whoever does not, is found by the check itself."""
    newest = await head(connection, group)
    end = asyncio.get_running_loop().time() + CATCH_UP
    while newest is not None:
        try:
            told = await ask(connection, group)
        except BackchannelError:
            terminal.say(f"note: nobody keeps copies of the audit trail of {group} just now.")
            return
        behind = [copy for copy in told["copies"] if copy["position"] < newest.position]
        if not behind or any(copy["failing"] for copy in behind) or asyncio.get_running_loop().time() > end:
            return
        await asyncio.sleep(POLL)


def _progress(terminal: Terminal, group: str) -> Any:
    told = 0

    def progress(done: int) -> None:
        nonlocal told
        if done - told >= TELL_EACH:
            told = done
            terminal.say(f"{group}: {done} records checked …")

    return progress


def _anchors(path: str | None, public: str) -> dict[str, dict[int, str]]:
    """Hashes by group and position. What is no checkpoint is wrong usage; one our key did not sign, a find.

    Whoever replaced the key and signed everything anew is found by what lies outside, and by nothing else.
    """
    found: dict[str, dict[int, str]] = defaultdict(dict)
    if path is None or not os.path.exists(path):
        return found
    for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), start=1):
        checkpoint = _anchor(line)
        if checkpoint is None:
            raise click.UsageError(f"Line {number} of {path} is no checkpoint.")
        if not genuine(checkpoint, public):
            raise Failure(
                f"Line {number} of {path} is not signed with the key of this trail ({public[:16]}…):"
                " the line, the key or the whole trail was replaced.",
                code="check_failed",
                hint="give the key under which it was kept with --key",
            )
        found[checkpoint.claim.group][checkpoint.claim.position] = checkpoint.claim.hash
    return found


def _anchor(line: str) -> Checkpoint | None:
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return read_checkpoint(str(said.get("group")), said) if isinstance(said, dict) else None


def _show(terminal: Terminal, verdict: Verdict) -> None:
    mark, color = ("✓", "green") if verdict.intact else ("✗", "red")
    said = "intact" if verdict.intact else "NOT intact"
    terminal.line(
        f"{terminal.paint(mark, color)} audit trail of {verdict.group}: {said} up to record {verdict.until}"
    )
    for receipt in verdict.receipts:
        terminal.line(_line(receipt))
    if (first := verdict.first()) is not None:
        where = f"record {first['position']} in {first['copy']} ({first['where']})"
        terminal.line(clean(f"  first divergence: {where}: {first['detail']}"))
    for receipt in verdict.receipts:
        for problem in receipt.problems:
            terminal.line(clean(f"    {receipt.copy}, {problem.where}: {problem.detail} ({problem.kind})"))
        if receipt.problem_count > len(receipt.problems):
            terminal.line(f"    {receipt.copy}: {receipt.problem_count - len(receipt.problems)} more")


def _line(receipt: Receipt) -> str:
    span = f"{receipt.first} to {receipt.last}" if receipt.records else "none"
    sealed = f"{receipt.checkpoints} checkpoints, sealed up to {receipt.sealed or '-'}"
    return f"  {receipt.copy:<9} {receipt.records} records ({span}), {sealed}, digest {receipt.digest[:16]}…"
