"""The timers that go with the life of sidebars: one for its silence, one for what it waits for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from backchannel.domain.decision import Outgoing, Timer
from backchannel.domain.settings import Settings
from backchannel.domain.sidebar.fold import WAITING_STILL
from backchannel.domain.sidebar.moves import TERMINAL
from backchannel.protocol.sidebar import SidebarFork, SidebarMessageBody, SidebarSpawn, SidebarWaitingUpdate
from backchannel.protocol.sidebar_status import SidebarStatus
from backchannel.protocol.subject import InContext

IDLE, SILENCE = "idle", "silence"
SIDEBAR, ESTIMATE = "sidebar", "estimate"


def silence(sidebar_id: str, at: datetime | None) -> Timer:
    """When to see next whether anybody still does anything in a sidebar; None for never."""
    return Timer(IDLE, SILENCE, sidebar_id, at)


def estimate(sidebar_id: str, at: datetime | None, cause: str | None = None) -> Timer:
    """When what a sidebar waits for should have come; None if it does not wait any more."""
    return Timer(SIDEBAR, ESTIMATE, sidebar_id, at, {"cause": cause} if at else {})


def alarms(events: Iterable[Outgoing], now: datetime, settings: Settings) -> tuple[Timer, ...]:
    """What these events start and stop. What is told of one sidebar on the life of another does neither."""
    return tuple(
        timer
        for out in events
        if isinstance(out.to, InContext) and isinstance(out.message, SidebarMessageBody)
        for timer in _of(out.to.context_id, out.message, now, settings)
    )


def _of(context: str, event: SidebarMessageBody, now: datetime, settings: Settings) -> Iterator[Timer]:
    match event:
        case SidebarFork(new_sidebar_id=fresh) if fresh != context:
            return  # told on the life of the original
        case SidebarSpawn() | SidebarFork():
            yield silence(context, now + timedelta(seconds=settings.cleanup.warn_after))
            return
        case SidebarWaitingUpdate(estimated_wait_time=float(seconds)) if event.sidebar_id == context:
            yield estimate(context, now + timedelta(seconds=seconds), event.cause)
            return
        case SidebarWaitingUpdate() if event.sidebar_id == context:
            if event.old_status is SidebarStatus.WAITING:
                yield estimate(context, None)
            return
    if event.old_status is None or event.old_status in TERMINAL:
        return
    if event.old_status in WAITING_STILL and event.status not in WAITING_STILL:
        yield estimate(context, None)
    if event.status in TERMINAL:
        yield silence(context, None)
