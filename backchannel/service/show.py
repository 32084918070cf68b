"""A sidebar as it is shown to people and programs: plain JSON."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from backchannel.delivery.cursor import Cursor
from backchannel.domain.sidebar import Sidebar

_SIDEBAR = TypeAdapter(Sidebar)
INTERNAL = frozenset(
    {"applied", "sequence", "invited", "children", "inherited", "waiters", "put_in", "departures"}
)


def shown(sidebar: Sidebar, epoch: str) -> dict[str, Any]:
    """All that is known of it."""
    plain: dict[str, Any] = _SIDEBAR.dump_python(sidebar, mode="json", by_alias=True)
    return {key: value for key, value in plain.items() if key not in INTERNAL} | {
        "participants": list(sidebar.members),
        "children": [{"sidebar_id": child, "open": still} for child, still in sidebar.children],
        "inherited_context": plain["inherited"],
        "awaited_by": list(sidebar.awaited_by),
        "cursor": str(Cursor(epoch, sidebar.sequence)),
    }


def summary(sidebar: Sidebar, epoch: str) -> dict[str, Any]:
    """One line of a list."""
    return {
        "sidebar_id": sidebar.sidebar_id,
        "parent_id": sidebar.parent_id,
        "status": sidebar.status.value,
        "priority": sidebar.priority.value,
        "task": sidebar.task[:500],
        "participants": list(sidebar.members),
        "coordinator": sidebar.coordinator,
        "forked_from": sidebar.forked_from,
        "open_children": len(sidebar.open_children),
        "created_at": sidebar.created_at,
        "last_activity": sidebar.last_activity,
        "cursor": str(Cursor(epoch, sidebar.sequence)),
    }
