"""The sidebars that have a say in a decision, as the log has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta

from backchannel.domain.rights import Action
from backchannel.domain.sidebar import Ask, Sidebar
from backchannel.domain.sidebar.decide import touched
from backchannel.domain.sidebar.wait import WAITS, awaited
from backchannel.errors import TooLarge
from backchannel.protocol.identifier import MAIN, is_identifier
from backchannel.protocol.sidebar import (
    SidebarArchive,
    SidebarChildSpawn,
    SidebarFork,
    SidebarMerge,
    SidebarSpawn,
    SidebarStatusUpdate,
    SidebarWaitingUpdate,
)
from backchannel.protocol.sidebar_status import SidebarStatus
from backchannel.service.context import Context

MOST = 512
"""Sidebars that one decision may depend on: with what it tells them it must fit into one atomic batch."""

RACE = timedelta(seconds=3)

Known = dict[str, Sidebar | None]


async def kin(ask: Ask, ctx: Context) -> Known:
    """Every sidebar that must be known to decide a command.

    Raises:
        TooLarge: there are too many.
    """
    known: Known = {}
    command = ask.command
    if isinstance(command, SidebarWaitingUpdate) and awaited(command):
        await ctx.in_order(WAITS)
    new_id = _new_id(ask)
    await _read(known, touched(command, new_id), ctx)
    if known.get(new_id) is not None:
        await _read(known, (ask.another_id(new_id),), ctx)
    await _read(known, _parents(known), ctx)
    match command:
        case SidebarWaitingUpdate() if _seen(ask, known, command.sidebar_id, *awaited(command)):
            await _spread(known, awaited(command), lambda found: found.waits_for, ctx)
        case SidebarMerge() | SidebarArchive() | SidebarStatusUpdate() if _seen(
            ask, known, command.sidebar_id
        ):
            await _add_concerned(known, command, ctx)
    return known


def _seen(ask: Ask, known: Known, *names: str) -> bool:
    """Whether the sender may look at all of these. What it may not see takes no more work than nothing."""
    so_far = replace(ask, known=known)
    return all((found := known.get(name)) is not None and so_far.may(Action.LOOK, found) for name in names)


async def _add_concerned(
    known: Known, command: SidebarMerge | SidebarArchive | SidebarStatusUpdate, ctx: Context
) -> None:
    """Parents hear of what ends, and so does who waits for it; open children may end with it."""
    ending = [command.sidebar_id]
    if isinstance(command, SidebarMerge) and command.open_children != "refuse":
        ending = await _spread(known, ending, lambda found: found.open_children, ctx)
    await _read(known, _parents(known), ctx)
    if isinstance(command, SidebarStatusUpdate) and command.new_status is not SidebarStatus.FAILED:
        return
    for sidebar_id in ending:
        if (found := known[sidebar_id]) is not None:
            await _read(known, found.awaited_by, ctx)


def _parents(known: Known) -> list[str]:
    return [found.parent_id for found in known.values() if found and found.parent_id != MAIN]


async def _spread(
    known: Known, start: Iterable[str], further: Callable[[Sidebar], Iterable[str]], ctx: Context
) -> list[str]:
    """Read these sidebars, those they lead to, and so on; their names, each once."""
    names = list(dict.fromkeys(start))
    for name in names:  # grows while it is gone through
        await _read(known, (name,), ctx)
        if (found := known[name]) is not None:
            names += [each for each in further(found) if each not in names]
    return names


async def _read(known: Known, names: Iterable[str], ctx: Context) -> None:
    for name in names:
        if name in known:
            continue
        if len(known) >= MOST:
            raise TooLarge(
                f"This concerns more than {MOST} sidebars at once; end or resume some of them first."
            )
        known[name] = await ctx.past(name) if is_identifier(name) and name != MAIN else None


async def raced(ask: Ask, ctx: Context) -> bool:
    """Whether the id that a new sidebar shall have was given to another a moment ago, by the log's clock.

    Two who want one id at the same time must not both go on; the second of them is told. Later nobody learns
    of it who may not look at what has that id.
    """
    taken = ask.known.get(_new_id(ask))
    if taken is None or ask.may(Action.LOOK, taken):
        return False
    born = await ctx.beginning(taken.sidebar_id)
    return born is not None and abs(ctx.now - born) < RACE


def _new_id(ask: Ask) -> str:
    match ask.command:
        case SidebarSpawn(sidebar_id=wanted) | SidebarFork(new_sidebar_id=wanted):
            return ask.new_id(wanted)
        case SidebarChildSpawn(child_sidebar_id=wanted):
            return ask.new_id(wanted)
    return ""
