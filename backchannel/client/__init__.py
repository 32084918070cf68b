"""The SDK: an agent in a few lines of Python."""

from __future__ import annotations

from backchannel.client.agent import Agent
from backchannel.client.ask import ask_once
from backchannel.client.asking import ToolOutcome
from backchannel.client.compose import compose
from backchannel.client.connecting import Connecting
from backchannel.client.continuity import Continuity
from backchannel.client.history import History
from backchannel.client.inbox import Inbox
from backchannel.client.notice import Gap, Incoming, Unknown, cursor_of
from backchannel.client.sealing import CannotOpen, SealingKey
from backchannel.client.sidebar import OpenedSidebar, Sidebar
from backchannel.client.voice import Receipt
from backchannel.protocol.frame import Accepted, DuplicateAck
from backchannel.protocol.memory import MemoryUpdate
from backchannel.protocol.mention import MentionRoute
from backchannel.protocol.presence import AgentPresence
from backchannel.protocol.result import Result
from backchannel.protocol.sidebar import (
    SidebarArchive,
    SidebarChildSpawn,
    SidebarCleanupWarning,
    SidebarClosed,
    SidebarFork,
    SidebarInvite,
    SidebarJoin,
    SidebarLeave,
    SidebarMerge,
    SidebarMessage,
    SidebarPause,
    SidebarResume,
    SidebarSpawn,
    SidebarStatusUpdate,
    SidebarTestResult,
    SidebarWaitingUpdate,
)
from backchannel.protocol.supervision import ApprovalRequest, ToolDecision, ToolResult

__all__ = [
    "Accepted",
    "Agent",
    "AgentPresence",
    "ApprovalRequest",
    "CannotOpen",
    "Connecting",
    "Continuity",
    "DuplicateAck",
    "Gap",
    "History",
    "Inbox",
    "Incoming",
    "MemoryUpdate",
    "MentionRoute",
    "OpenedSidebar",
    "Receipt",
    "Result",
    "SealingKey",
    "Sidebar",
    "SidebarArchive",
    "SidebarChildSpawn",
    "SidebarCleanupWarning",
    "SidebarClosed",
    "SidebarFork",
    "SidebarInvite",
    "SidebarJoin",
    "SidebarLeave",
    "SidebarMerge",
    "SidebarMessage",
    "SidebarPause",
    "SidebarResume",
    "SidebarSpawn",
    "SidebarStatusUpdate",
    "SidebarTestResult",
    "SidebarWaitingUpdate",
    "ToolDecision",
    "ToolOutcome",
    "ToolResult",
    "Unknown",
    "ask_once",
    "compose",
    "cursor_of",
]
