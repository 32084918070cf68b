"""What becomes of a sidebar in which nothing happens any more: warned, paused, archived."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from backchannel.domain.settings import Cleanup
from backchannel.domain.sidebar.moves import legal
from backchannel.domain.sidebar.state import Sidebar, Warned
from backchannel.protocol.sidebar_status import SidebarStatus


@dataclass(frozen=True, slots=True)
class Activity:
    """The last thing that anybody but the platform did in a sidebar: where in the log, and when."""

    sequence: int
    moment: datetime


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing, and no need to look again."""


@dataclass(frozen=True, slots=True)
class Look:
    """Nothing yet; look again at this moment."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Warn:
    """Tell the participants that the sidebar becomes ``next_status`` at this moment."""

    next_status: SidebarStatus
    at: datetime


@dataclass(frozen=True, slots=True)
class Pause:
    """Pause it; tell the participants that it is archived at this moment."""

    archive_at: datetime


@dataclass(frozen=True, slots=True)
class Archive:
    """Put it away."""


Step = Rest | Look | Warn | Pause | Archive


def next_step(sidebar: Sidebar | None, activity: Activity, policy: Cleanup, now: datetime) -> Step:
    """What is to be done with a sidebar now. Whoever does anything in it begins its time anew.

    One with open children is left alone while there are any: their time runs, too. So is one that waits,
    until the moment at which it thinks that what it waits for has come.
    """
    if sidebar is None or not sidebar.open:
        return Rest()
    silence = timedelta(seconds=policy.warn_after)
    if not policy.enabled or sidebar.open_children:
        return Look(now + silence)
    warned = sidebar.warned
    if warned is not None and activity.sequence < warned.sequence and _stands(sidebar, warned):
        return _carried_out(warned, policy, now)
    quiet_until = max(activity.moment, _expected(sidebar) or activity.moment) + silence
    return Look(quiet_until) if now < quiet_until else _warning(sidebar, policy, now)


def _warning(sidebar: Sidebar, policy: Cleanup, now: datetime) -> Step:
    if legal(sidebar.status, SidebarStatus.PAUSED):
        return Warn(SidebarStatus.PAUSED, now + timedelta(seconds=policy.pause_after))
    return Warn(SidebarStatus.ARCHIVED, now + timedelta(seconds=policy.archive_after))


def _carried_out(warned: Warned, policy: Cleanup, now: datetime) -> Step:
    moment = datetime.fromisoformat(warned.at)
    if now < moment:
        return Look(moment)
    if warned.next_status is SidebarStatus.PAUSED:
        return Pause(now + timedelta(seconds=policy.archive_after))
    return Archive()


def _stands(sidebar: Sidebar, warned: Warned) -> bool:
    return legal(sidebar.status, warned.next_status)


def _expected(sidebar: Sidebar) -> datetime | None:
    if sidebar.waiting is None or sidebar.waiting.until is None:
        return None
    return datetime.fromisoformat(sidebar.waiting.until)
