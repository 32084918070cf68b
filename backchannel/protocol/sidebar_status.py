"""The statuses and the priorities of sidebars."""

from __future__ import annotations

from enum import StrEnum


class SidebarStatus(StrEnum):
    """The ten statuses of a sidebar."""

    ACTIVE = "active"
    TESTING = "testing"
    PAUSED = "paused"
    WAITING = "waiting"
    REVIEWING = "reviewing"
    SPAWNING_CHILD = "spawning_child"
    CONSOLIDATING = "consolidating"
    MERGED = "merged"
    ARCHIVED = "archived"
    FAILED = "failed"


class SidebarPriority(StrEnum):
    """The five priorities of a sidebar; each is also the lane its events travel in."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"
    BACKGROUND = "background"
